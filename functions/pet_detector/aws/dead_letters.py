"""Amazon SQS: messages that could not be delivered, and those of them that name an image."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pet_detector.aws.clients import client
from pet_detector.aws.errors import translated

# The most that one pass looks at in a queue: some seconds of work. Far more than a healthy application ever has.
MOST_MESSAGES = 1000
# While a pass looks at the others, no message comes twice. Whoever reads the queue meanwhile does not see them.
_HIDDEN_SECONDS = 60
# Without waiting, SQS asks only some of its servers, and may say that nothing is there.
_WAIT_SECONDS = 1
# Between two looks at how many are hidden.
_LOOK_SECONDS = 5.0
_A_CALL = 10  # the most that ReceiveMessage and the batches take


@dataclass(frozen=True)
class Pass:
    """`deleted` messages by what they named; `is_whole`: every message of every queue was looked at."""

    deleted: dict[str, int]
    is_whole: bool


def forget(queue_urls: Collection[str], names: Mapping[str, Collection[str]], *, patience: float = 0) -> Pass:
    """Delete the messages that hold one of the `names` of an image (by ImageID), and put the others back.

    A message that somebody else has received at the moment is not seen: then, and beyond MOST_MESSAGES, the pass is not
    whole. So it may be for a minute after another pass, because SQS counts late: for so many seconds (`patience`) this
    one waits until nothing is hidden. Raises the errors of AWS; what was not deleted comes back after a minute.
    """
    deleted = dict.fromkeys(names, 0)
    is_whole = True
    ends = time.monotonic() + patience
    for url in queue_urls:
        kept: list[str] = []
        seen = 0
        is_whole = is_whole and not _stays_in_other_hands(url, ends)
        with translated("sqs:ReceiveMessage"):
            while seen < MOST_MESSAGES:
                messages = (
                    client("sqs")
                    .receive_message(
                        QueueUrl=url,
                        MaxNumberOfMessages=_A_CALL,
                        VisibilityTimeout=_HIDDEN_SECONDS,
                        WaitTimeSeconds=_WAIT_SECONDS,
                    )
                    .get("Messages", [])
                )
                if not messages:
                    break
                seen += len(messages)
                gone: list[str] = []
                for message in messages:
                    owners = [owner for owner, parts in names.items() if any(part in message["Body"] for part in parts)]
                    for owner in owners:
                        deleted[owner] += 1
                    (gone if owners else kept).append(message["ReceiptHandle"])
                if gone:
                    answer = client("sqs").delete_message_batch(
                        QueueUrl=url,
                        Entries=[{"Id": str(number), "ReceiptHandle": handle} for number, handle in enumerate(gone)],
                    )
                    is_whole = is_whole and not answer.get("Failed")
        is_whole = is_whole and seen < MOST_MESSAGES
        _put_back(url, kept)
    return Pass(deleted, is_whole)


def _stays_in_other_hands(url: str, ends: float) -> bool:
    """Whether messages are hidden, and still are at `ends`, by the monotonic clock."""
    while is_hidden := _is_in_other_hands(url):
        if time.monotonic() + _LOOK_SECONDS > ends:
            break
        time.sleep(_LOOK_SECONDS)
    return is_hidden


def _is_in_other_hands(url: str) -> bool:
    """Whether messages are hidden, because somebody has received them. The number is an approximate one."""
    with translated("sqs:GetQueueAttributes"):
        answer = client("sqs").get_queue_attributes(
            QueueUrl=url, AttributeNames=["ApproximateNumberOfMessagesNotVisible"]
        )
    return int(answer["Attributes"]["ApproximateNumberOfMessagesNotVisible"]) > 0


def _put_back(url: str, handles: list[str]) -> None:
    for first in range(0, len(handles), _A_CALL):
        with translated("sqs:ChangeMessageVisibility"):
            client("sqs").change_message_visibility_batch(
                QueueUrl=url,
                Entries=[
                    {"Id": str(number), "ReceiptHandle": handle, "VisibilityTimeout": 0}
                    for number, handle in enumerate(handles[first : first + _A_CALL])
                ],
            )
