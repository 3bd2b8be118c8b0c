"""What `petdetect reviews` finds and says: what waits for people, and which verdicts are not carried out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

from ops import output
from ops.environment import Deployment
from pet_detector.aws import detection_logs, reviews
from pet_detector.rules.review import WAITING, Head, Queue, filed_since
from pet_detector.use_cases import review_keeper

# ReviewKeeper starts what waits for longer than its own minutes at each run, every 15: older ones are stuck.
_STUCK_AFTER = timedelta(minutes=45)
SHOWN = 50


@dataclass(frozen=True)
class Reviews:
    """Numbers stop at 1,000 of each queue. `late` are the oldest SHOWN verdicts that are to be carried out.

    `oldest_hours`: of the uncertain images; 0 when none waits.
    """

    waiting: dict[str, int]
    oldest_hours: float
    overdue_hours: float
    pending: int
    late: list[Head]

    @property
    def stuck(self) -> list[Head]:
        """Verdicts that ReviewKeeper has started again, and that are still not carried out."""
        before = detection_logs.format_time(datetime.now(UTC) - _STUCK_AFTER)
        return [head for head in self.late if head["Order"] < before]

    @property
    def is_overdue(self) -> bool:
        """Whether the oldest image waits for longer than it should."""
        return self.oldest_hours > self.overdue_hours

    @property
    def needs_attention(self) -> bool:
        """A person must act."""
        return bool(self.stuck) or self.is_overdue


def look(deployment: Deployment) -> Reviews:
    """What there is now. Indexes lag behind the table by moments. Raises AWS's errors."""
    table, now = deployment.output("ReviewsTableName"), datetime.now(UTC)
    image_days = float(deployment.parameter("ImageRetentionDays"))
    since = filed_since(image_days, now.timestamp())
    return Reviews(
        waiting={queue.value: reviews.count(table, queue, filed_since=since) for queue in WAITING},
        oldest_hours=review_keeper.oldest_hours(deployment.table, now, image_days),
        overdue_hours=float(deployment.parameter("ReviewOverdueHours")),
        pending=reviews.count(table, Queue.PENDING),
        late=list(islice(reviews.waiting(table, Queue.PENDING), SHOWN)),
    )


def say(environment: str, found: Reviews, *, as_json: bool) -> None:
    """Print it."""
    if as_json:
        output.say_json(_document(found))
        return
    numbers = ", ".join(f"{name} {_many(number)}" for name, number in found.waiting.items())
    output.say(f"Waits for review: {_many(sum(found.waiting.values()))} ({numbers})")
    output.say(f"Oldest uncertain image: {_age(found)}")
    output.say(f"Verdicts to be carried out: {_many(found.pending)}")
    if found.late:
        stuck = {head["ImageID"] for head in found.stuck}
        output.print_table(
            ("image", "verdict", "number", "since", "state"),
            (
                (
                    head["ImageID"],
                    head.get("Verdict", "undone"),
                    str(head["Sequence"]),
                    head["Order"].partition("#")[0],
                    "stuck" if head["ImageID"] in stuck else "is started every 15 minutes",
                )
                for head in found.late
            ),
        )
    if found.stuck:
        output.say(
            "Started again, and not carried out: docs/operations.md#verdicts-not-carried-out has what to do. "
            f"The errors are in the notices, and in the executions of ReviewWorkflow ({environment})."
        )


def _age(found: Reviews) -> str:
    if not found.oldest_hours:
        return "none"
    late = f", overdue since {found.oldest_hours - found.overdue_hours:.0f} hours" if found.is_overdue else ""
    return f"waits for {found.oldest_hours:.1f} hours{late}"


def _many(number: int) -> str:
    return f"{number:,}" if number < reviews.MOST_COUNTED else f"{number:,} or more"


def _document(found: Reviews) -> dict[str, object]:
    stuck = {head["ImageID"] for head in found.stuck}
    return {
        "waiting": found.waiting,
        "oldestHours": round(found.oldest_hours, 1),
        "overdue": found.is_overdue,
        "pending": found.pending,
        "late": [
            {
                "imageId": head["ImageID"],
                "verdict": head.get("Verdict"),
                "sequence": int(head["Sequence"]),
                "since": head["Order"].partition("#")[0],
                "stuck": head["ImageID"] in stuck,
            }
            for head in found.late
        ],
        "needsAttention": found.needs_attention,
    }
