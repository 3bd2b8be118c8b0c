"""The texts of the notices: what happened, why, and what to do."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pet_detector.rules.models import REVIEW_FACT, Scores
from pet_detector.rules.text import printable, quoted

# The kinds of notices, as their attribute Kind names them for the subscribers' filter policies. A digest has DIGEST,
# and the kinds of what it counts: who wants those gets it without another policy.
REVIEW, FAILURE, DIGEST = "ImageUncertain", "ImageProcessingFailed", "NoticeDigest"
# Once a day, to reviewers and to operators.
WAITING, OVERDUE = "ReviewsWaiting", "ReviewsOverdue"
# NoticeBurst notices of a kind within so many minutes; the Reconciler sends digests as often as it runs.
BURST_MINUTES, DIGEST_MINUTES = 5, 15


@dataclass(frozen=True)
class Notice:
    """A message for reviewers or operators. `attributes` are for the subscribers' filter policies.

    `fact` names what the notice is about. A fact is notified once: the record keeps it in Notices.
    """

    subject: str
    message: str
    attributes: dict[str, str | float | list[str]]
    fact: str

    @property
    def is_digest(self) -> bool:
        """Whether it speaks of many images: of these a chat channel hears too."""
        kinds = self.attributes.get("Kind")
        return isinstance(kinds, list) and not {DIGEST, WAITING, OVERDUE}.isdisjoint(kinds)


def uncertain_image(
    image_id: str,
    *,
    file_name: str,
    location: str,
    reason: str,
    confidence: float,
    scores: Scores,
    correlation_id: str,
    stage: str,
) -> Notice:
    """The notice that asks reviewers to decide on an uncertain image. One per image."""
    lean = "cat" if scores.cat >= scores.dog else "dog"
    return Notice(
        subject=f"[{stage}] Please review image {image_id}",
        message=(
            f"The pet detector was not sure about an image, and filed it under others/.\n\n"
            f"Image:      {image_id}\n"
            f"File name:  {quoted(file_name)}\n"
            f"Location:   {location}\n"
            f"Why:        {reason}\n"
            f"Confidence: cat {scores.cat:.1f} %, dog {scores.dog:.1f} %; that it is neither: {confidence:.1f} %\n\n"
            f"What to do: look at the image (GET /images/{image_id} with an operator's key gives a link) and "
            f"decide whether it shows a cat, a dog, or neither. The more likely animal is {lean}.\n"
        ),
        attributes={
            "Kind": REVIEW,
            "ImageID": image_id,
            "Stage": stage,
            "LeansTo": lean,
            "HighestScore": max(scores.cat, scores.dog),
            "CorrelationID": correlation_id,
        },
        fact=REVIEW_FACT,
    )


def failed_image(
    image_id: str, *, key: str, error: str, cause: str, execution_arn: str, correlation_id: str, stage: str
) -> Notice:
    """The notice for operators: an image could not be processed. One per execution that failed."""
    return Notice(
        subject=f"[{stage}] Processing failed for image {image_id}",
        message=(
            f"The pet detector could not process an image. Nothing is lost: the image is still stored.\n\n"
            f"Image:     {image_id}\n"
            f"Object:    {quoted(key)}\n"
            f"Why:       {error}: {printable(cause)}\n"
            f"Execution: {execution_arn}\n\n"
            f"What to do: petdetect explain {image_id} shows every step. Fix the cause (docs/operations.md "
            f"has it by error name), then petdetect redrive {image_id}.\n"
        ),
        attributes={
            "Kind": FAILURE,
            "ImageID": image_id,
            "Stage": stage,
            "Error": error,
            "CorrelationID": correlation_id,
        },
        fact=execution_arn,
    )


def failed_verdict(
    image_id: str, *, sequence: int, error: str, cause: str, execution_arn: str, correlation_id: str, stage: str
) -> Notice:
    """The notice for operators: what a person decided could not be carried out. One per verdict, however often it is
    tried again.
    """
    return Notice(
        subject=f"[{stage}] A verdict on image {image_id} was not carried out",
        message=(
            f"The pet detector could not carry out what a person decided about an image. Nothing is lost: the verdict "
            f"is kept, the picture is still stored, and it is tried again every 15 minutes.\n\n"
            f"Image:     {image_id}\n"
            f"Verdict:   number {sequence}\n"
            f"Why:       {error}: {printable(cause)}\n"
            f"Execution: {execution_arn}\n\n"
            f"What to do: fix the cause (docs/operations.md has it by error name). petdetect --env {stage} reviews "
            f"shows what is still to be carried out.\n"
        ),
        attributes={
            "Kind": FAILURE,
            "ImageID": image_id,
            "Stage": stage,
            "Error": error,
            "CorrelationID": correlation_id,
        },
        fact=f"verdict#{sequence}",
    )


def waiting_reviews(number: int, *, again: int, oldest_hours: float, page_address: str, stage: str) -> Notice:
    """The daily digest for reviewers: how many images wait for them, and since when the oldest.

    `again` of them were judged, and wait for somebody else.
    """
    counted = _counted(number)
    second = f"Again:     {_counted(again)}, by another person than who judged them"
    second += " (a team of one sets SecondLookPercent=0)\n"
    second += "           What two disagree about needs a third person, or correct it in the gallery.\n"
    return Notice(
        subject=f"[{stage}] {counted} {'image waits' if number == 1 else 'images wait'} for review",
        message=(
            f"The pet detector was not sure about some images, or wants to know how often it is right.\n\n"
            f"To review: {counted}\n"
            f"{second if again else ''}"
            f"Oldest:    {_hours(oldest_hours)}\n\n"
            f"What to do: open the page, sign in, and choose Review: {page_address}\n\n"
            f"This notice comes once a day while images wait.\n"
        ),
        attributes={"Kind": [WAITING, REVIEW], "Stage": stage, "Reviews": number, "OldestHours": oldest_hours},
        fact=WAITING,
    )


def overdue_reviews(number: int, *, oldest_hours: float, overdue_hours: float, stage: str) -> Notice:
    """The notice for operators that nobody reviews: once a day while the oldest image waits for too long."""
    return Notice(
        subject=f"[{stage}] Reviews are overdue: the oldest image waits for {_hours(oldest_hours)}",
        message=(
            f"Images wait for review for longer than {overdue_hours:g} hours (parameter ReviewOverdueHours).\n\n"
            f"To review: {_counted(number)}\n"
            f"Oldest:    {_hours(oldest_hours)}\n\n"
            f"What to do: ask the reviewers whether they get the daily notice and can sign in; petdetect --env {stage} "
            f"reviews shows what waits. docs/operations.md, reviews-overdue, has more.\n"
        ),
        attributes={"Kind": [OVERDUE, FAILURE], "Stage": stage, "Reviews": number, "OldestHours": oldest_hours},
        fact=OVERDUE,
    )


def _counted(number: int) -> str:
    return f"{number:,}" if number < 1000 else f"{number // 1000 * 1000:,} or more"


def _hours(hours: float) -> str:
    if not hours:
        return "only samples and second looks, which nobody waits for"
    return f"{hours:.0f} hours" if hours < 48 else f"{hours / 24:.0f} days"


def last_before_digest(notice: Notice) -> Notice:
    """The same notice, which also says that those after it come as one."""
    return replace(
        notice,
        message=(
            f"{notice.message}\nMany notices of this kind came within {BURST_MINUTES} minutes. If more come now, you "
            f"get one digest of them within {DIGEST_MINUTES} minutes, with their number and how to list them.\n"
        ),
    )


def digest(*, reviews: int, failures: int, since: str, stage: str) -> Notice:
    """The one notice instead of many: how many images need a review, how many executions failed, since when (UTC)."""
    parts = [f"{reviews} {'image needs' if reviews == 1 else 'images need'} review"] if reviews else []
    if failures:
        parts.append(f"{failures} {'' if reviews else 'image ' if failures == 1 else 'images '}failed")
    message = (
        f"Too many notices came at once, so these come as one. Nothing is lost: the record of each image says it.\n\n"
        f"To review: {reviews}\n"
        f"Failed:    {failures}\n"
        f"Since:     {since}\n\n"
    )
    if reviews:
        message += (
            "To review: GET /images?status=needs_review with an operator's key lists them, newest first. Look at "
            "each (GET /images/ID gives a link) and decide whether it shows a cat, a dog, or neither.\n"
        )
    if failures:
        message += (
            f"Failed: petdetect --env {stage} failed lists them with their reasons. Fix the cause (docs/operations.md "
            f"has it by error name), then petdetect --env {stage} redrive --all. Verdicts that were not carried out "
            f"are among them: petdetect --env {stage} reviews.\n"
        )
    kinds = [DIGEST, *([REVIEW] if reviews else []), *([FAILURE] if failures else [])]
    return Notice(
        subject=f"[{stage}] {', '.join(parts)}",
        message=message,
        attributes={"Kind": kinds, "Stage": stage, "Reviews": reviews, "Failures": failures},
        fact=since,
    )
