"""One cell of the matrix: a fault in one call of one image, what must become of it, and how that is checked."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any

from ops import restart
from ops.restart import Restart
from pet_detector.rules import image_ids, text
from tests.support.containers import box, real_heic
from tests.support.deployment import CERTAIN_CAT, FINAL, FINISHED, UNCERTAIN_CAT, never_seen
from tests.support.waiting import wait_for

from .rig import Rig

# What an image stays in until somebody does something.
_ENDS = (*FINAL, "held")
# The longest: Rekognition hangs at every attempt, five times 12 s; beside other cells.
SETTLE_SECONDS = 240.0
NOTICE_SECONDS = 30.0

# "judged": somebody says that the cat is a dog.
PICTURES = {"cat": CERTAIN_CAT, "uncertain": UNCERTAIN_CAT, "broken off": CERTAIN_CAT, "judged": CERTAIN_CAT}
FOLDERS = {
    "cat": ("completed", "cats"),
    "uncertain": ("needs_review", "others"),
    "broken off": ("rejected", "rejected"),
    "heic": ("completed", "cats"),
    "judged": ("completed", "dogs"),
}

# Calls that the wire does not tell from others of the same operation, but by a header that only they have.
READ_TO_FILE, FILE = "GetObject: read to file", "PutObject: file"
_BY_HEADER = {
    "CopyObject": ("PutObject", "x-amz-copy-source"),
    READ_TO_FILE: ("GetObject", "if-match"),
    FILE: ("PutObject", "x-amz-meta-uploaded-sha256"),
}


class Phase(IntEnum):
    """Cells of one phase run side by side, except in ALONE, where each touches what all share.

    In WAITING images wait for their turn to ask Rekognition, behind a queue that is made up. In LIMITED the daily limit
    of analyses is reached, so that images are held. In MODERATED the parameter ContentSafety is `reject`.
    """

    TOGETHER = 0
    WAITING = 1
    MODERATED = 2
    LIMITED = 3
    ALONE = 4


@dataclass(frozen=True)
class Expected:
    """How an image ends: `folder` is where its object lies while it waits for a redrive or for good.

    `reviews` and `failures` are the notices that were sent until then; `error` is the record's, `gone` says that
    there is no object, so that nothing can be redriven. `refused` is what the client saw whose request broke, or what
    became of the run of a function that broke; who made the call makes it again.
    """

    status: str = "completed"
    folder: str = "cats"
    error: str = ""
    reviews: int = 0
    failures: int = 0
    gone: bool = False
    refused: str = ""

    def __str__(self) -> str:
        notices = [f"{n} {kind}" for n, kind in ((self.reviews, "review"), (self.failures, "failure")) if n]
        what = f"{self.status} ({self.error})" if self.error else self.status
        seen = f"{self.refused}; " if self.refused else ""
        return f"{seen}{what}, {'no object' if self.gone else self.folder + '/'}, {' + '.join(notices) or 'no'} notice"


def failed(error: str, folder: str = "input", failures: int = 1, **more: Any) -> Expected:
    """The image waits for an operator, who was notified."""
    return Expected("failed", folder, error, failures=failures, **more)


@dataclass
class Upload:
    """An object version that the cell put into the bucket, and what must become of it.

    `version` is "" until it is known: the API stores pictures without saying which version it made. `picture` is what
    is to be seen on it.
    """

    image_id: str
    key: str
    version: str
    expected: Expected
    picture: str


@dataclass(frozen=True)
class Cell:
    """`act` uploads, breaks and starts; `settled` is how the case ends by itself, `picture` what is uploaded."""

    call: str
    fault: str
    act: Callable[[Case], None]
    expected: Expected
    picture: str = "cat"
    phase: Phase = Phase.TOGETHER
    mocks: dict[str, dict[str, Any]] = field(default_factory=dict)  # state -> attempts, for direct integrations
    events: bool = True  # uploads start the workflow by themselves

    @property
    def name(self) -> str:
        return f"{self.call} / {self.fault}"

    @property
    def test_case(self) -> str:
        """The name of its test case in the mock configuration."""
        return "Case" + hashlib.sha256(self.name.encode()).hexdigest()[:12]


def picture(kind: str, mark: str) -> bytes:
    """A photo whose bytes are new."""
    if kind == "heic":
        return real_heic() + box(b"free", mark.encode())
    data = never_seen(PICTURES[kind], mark.encode())
    return data[: len(data) // 2] if kind == "broken off" else data


class Case:
    """A cell while it runs: its image, its faults, and what is wrong."""

    def __init__(self, rig: Rig, cell: Cell) -> None:
        self.rig = rig
        self.cell = cell
        self.image_id = uuid.uuid4().hex
        self.key = f"input/{self.image_id}.jpg"
        self.data = picture(cell.picture, self.image_id)
        self.uploads: list[Upload] = []
        self.keys: set[str] = set()  # under input/, where this cell may put something
        self.problems: list[str] = []
        self.redriven: set[str] = set()
        self.refused = ""
        self.again: Callable[[], object] | None = None  # makes the call again that was refused
        self.at_the_end: list[Callable[[], None]] = []  # what else is looked at then
        self.has_ended = False
        self.seconds = 0.0
        self.observed = ""
        self._payloads: set[str] = set()
        self.name_again()
        if not cell.events:  # made while no upload starts the workflow: see `__main__`
            self.put_before = self.put()

    def name_again(self) -> None:
        """Let faults hit the image of `image_id`; the hash of its bytes is the key of its analysis."""
        self._payload = f"{self.image_id}|{hashlib.sha256(self.data).hexdigest()}"

    def name_also(self, image_id: str) -> None:
        """Let faults hit a second image, too."""
        self._payload += f"|{image_id}"

    # --- What a cell does -------------------------------------------------------------------------------------------

    def require(self, condition: Any, problem: str) -> None:
        """Note a problem unless the condition holds."""
        if not condition:
            self.problems.append(problem)

    def inject(self, service: str, operation: str, fault: dict[str, Any], *, also: str = "") -> int:
        """Break a call about this image (or whose text has `also`, a regular expression, too)."""
        payload = f"(?s)(?=.*{also})(?=.*({self._payload}))" if also else self._payload
        self._payloads.add(payload)
        proxy = self.rig.rekognition if service == "rekognition" else self.rig.aws
        call: dict[str, Any] = {"service": service, "operation": operation}
        if operation in _BY_HEADER:
            call["operation"], header = _BY_HEADER[operation]
            call["headers"] = {header: ""}
        return proxy.add({**call, "payload": payload, **fault})

    def inject_everywhere(self, service: str, operation: str, fault: dict[str, Any], payload: str = ".") -> int:
        """Break a call that names no image; only in a cell that runs alone."""
        self._payloads.add(payload)
        return self.rig.aws.add({"service": service, "operation": operation, "payload": payload, **fault})

    def lift(self) -> None:
        """Take all faults away, and the queue that this cell may have made up."""
        if self.cell.phase is Phase.ALONE:
            self.rig.end_queue()
        for payload in self._payloads:
            self.rig.aws.remove(payload)
            self.rig.rekognition.remove(payload)

    def put(self, key: str | None = None, data: bytes | None = None) -> Upload:
        """Upload straight into the bucket, without a checksum, as a browser's form does."""
        key = key or self.key
        self.keys.add(key)
        version = self.rig.put_object(key, data or self.data)
        return self.upload(image_ids.image_id_of(key, version), key, version)

    def put_behind(self, seconds: float, key: str | None = None) -> Upload:
        """Upload when others have taken all turns to ask Rekognition of so many seconds, so that the image waits."""
        # The image is held until the queue is there; a queue that was there before would be over on a busy machine.
        rule = self.inject("s3", "GetObject", {"latency": 1000, "times": 1})
        upload = self.put(key)
        self.wait_for_fault(rule)
        self.rig.others_take_turns(seconds + 1)
        return upload

    def upload(self, image_id: str, key: str, version: str = "") -> Upload:
        """Answer for an object version."""
        self.keys.add(key)
        upload = Upload(image_id, key, version, self.cell.expected, self.cell.picture)
        self.uploads.append(upload)
        return upload

    def answer_for(self, image_id: str, expected: Expected) -> None:
        """Answer also for an image that was filed without the workflow."""
        upload = self.upload(image_id, f"input/{image_id}.jpg")
        upload.expected, upload.picture = expected, "uncertain"

    def superseded(self, later: Upload, image: Upload) -> None:
        """Answer no more for a later upload under the key of a finished image: it was counted there, and removed."""
        self.require((later.key, later.version) not in self.rig.objects(later.key), "the later upload is still there")
        self.require(not self.rig.status(image_ids.hashed_image_id(later.key, later.version)), "it became an image")
        self.require("Superseded" in self.rig.record(image.image_id), "nobody is told of the later upload")
        self.uploads.remove(later)

    def refuse(self, what: str, again: Callable[[], object]) -> None:
        """Note that the call was refused, and how it is made again once the fault is gone."""
        self.refused, self.again = what, again

    def start(self, upload: Upload, times: int = 1) -> list[str]:
        """Deliver the upload's event by hand, with this cell's mocked answers."""
        document = {"detail": {"object": {"key": upload.key, "version-id": upload.version}}}
        test_case = self.cell.test_case if self.cell.mocks else ""
        return [self.rig.start_execution(document, test_case=test_case) for _ in range(times)]

    def wait_for_fault(self, rule: int, service: str = "aws", times: int = 1) -> None:
        """Until a rule has met its call so often."""
        proxy = self.rig.rekognition if service == "rekognition" else self.rig.aws
        self.require(
            wait_for(lambda: proxy.fired(rule) >= times, SETTLE_SECONDS, 0.05), "the call to break was never made"
        )

    def wait_for_state(self, execution: str, state: str) -> None:
        """Until the execution has entered a state."""

        self.require(
            wait_for(lambda: state in self.rig.states_entered(execution), 60, 0.02), f"{state} was never entered"
        )

    def execution_of(self, upload: Upload) -> str:
        """The execution that has claimed the image."""
        arn = wait_for(lambda: self.rig.record(upload.image_id).get("ExecutionArn"), 60)
        return str(arn["S"]) if arn else ""

    def stop(self, execution: str) -> None:
        """Stop an execution as an operator would, while it runs."""
        self.rig.sfn.stop_execution(executionArn=execution, error="ExecutionAborted", cause="stopped by the test")
        status = self.rig.sfn.describe_execution(executionArn=execution)["status"]
        self.require(status == "ABORTED", f"the execution was {status} before it could be stopped")

    # --- How it ends ------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Act, wait, check, redrive what failed, check again."""
        began = time.monotonic()
        try:
            self.cell.act(self)
            for upload in self.uploads:
                self._settle(upload)
            self.observed = "; ".join(sorted({str(self._seen(upload)) for upload in self.uploads}))
            for upload in self.uploads:
                self._check(upload)
            self._check_input()
            self.lift()
            if self.again is not None:
                self._make_again(self.again)
            for upload in self.uploads:
                if not upload.expected.gone:
                    self._redrive(upload)
            for check in self.at_the_end:
                check()
        except Exception as error:
            self.problems.append(f"{type(error).__name__}: {error}"[:300])
        finally:
            self.lift()
            self.seconds = time.monotonic() - began
            self.has_ended = True

    def _settle(self, upload: Upload, old_execution: str = "") -> None:
        def settled() -> bool:
            record = self.rig.record(upload.image_id)
            execution = record.get("ExecutionArn", {"S": ""})["S"]
            if not record or record["ProcessingStatus"]["S"] not in _ENDS or execution == old_execution:
                return False
            upload.version = upload.version or record["SourceVersion"]["S"]
            return not self.rig.is_running(execution)

        expected = upload.expected
        if expected.status in _ENDS:  # else nobody works on it
            wait_for(settled, SETTLE_SECONDS)
        wait_for(lambda: self._notices(upload) == (expected.reviews, expected.failures), NOTICE_SECONDS)

    def _notices(self, upload: Upload) -> tuple[int, int]:
        kinds = Counter(sent.kind for sent in self.rig.sent(upload.image_id))
        return kinds["ImageUncertain"], kinds["ImageProcessingFailed"]

    def places(self, upload: Upload) -> list[str]:
        """Folders that hold the upload or a copy of it."""
        # Keys, not versions: a copy that is repeated writes another version of the same object.
        keys = {key for folder in image_ids.FOLDERS for key, _ in self.rig.objects(f"{folder}/{upload.image_id}.")}
        filed = sorted(key.partition("/")[0] for key in keys)
        waiting = [version for _, version in self.rig.objects(upload.key)]
        waits = upload.version in waiting if upload.version else bool(waiting)
        return (["input"] if waits else []) + filed

    def _seen(self, upload: Upload) -> Expected:
        record = self.rig.record(upload.image_id)
        places = self.places(upload)
        reviews, failures = self._notices(upload)
        error = record.get("Error", {}).get("M", {}).get("Error", {"S": ""})["S"]
        status = record.get("ProcessingStatus", {"S": "no record"})["S"]
        wanted = upload.expected.folder
        # While a move has failed half-way the object lies in both; only the redrive brings it back to one.
        place = wanted if status == "failed" and wanted in places else "+".join(places)
        return Expected(status, place or wanted, error, reviews, failures, not places, self.refused)

    def _check(self, upload: Upload) -> None:
        seen = self._seen(upload)
        cause = self.rig.record(upload.image_id).get("Error", {}).get("M", {}).get("Cause", {"S": ""})["S"]
        why = text.message_of(cause)[:200]
        self.require(seen == upload.expected, f"expected {upload.expected}; got {seen} {why}")

    def _check_input(self) -> None:
        """Before anything is redriven, only what is not finished lies under input/."""
        known = {(u.key, u.version) for u in self.uploads if u.expected.status not in FINISHED}
        left = {place for key in self.keys for place in self.rig.objects(key)} - known
        self.require(not left, f"left under input/: {sorted(left)}")

    def _make_again(self, again: Callable[[], object]) -> None:
        ends = [(upload, self._good_end(upload)) for upload in self.uploads]
        again()
        self.refused = ""
        for upload, end in ends:
            self._finishes(upload, end)

    def _redrive(self, upload: Upload) -> None:
        """Let `petdetect` start the image again, and see it finished: redrive what failed, release what is held."""
        for kind in (restart.REDRIVE, restart.RELEASE):
            record = self.rig.record(upload.image_id)
            if record.get("ProcessingStatus") != {"S": kind.takes.value}:
                continue
            end = self._good_end(upload)
            if kind is restart.REDRIVE and self.cell.phase is Phase.LIMITED:
                end = replace(end, status="held", folder="input")
            if not self._is_started(upload, kind):
                return
            self.redriven.add(upload.image_id)
            self._finishes(upload, end, record["ExecutionArn"]["S"])

    def _good_end(self, upload: Upload) -> Expected:
        """How an image ends that is about to be started again: reviewers are notified unless they were."""
        status, folder = FOLDERS[upload.picture]
        reviews, failures = self._notices(upload)
        notified_before = "uncertain" in self.rig.record(upload.image_id).get("Notices", {}).get("SS", [])
        if status == "needs_review" and not notified_before:
            reviews += 1
        return Expected(status, folder, reviews=reviews, failures=failures)

    def _is_started(self, upload: Upload, kind: Restart) -> bool:
        with self.rig.operating:  # boto3 must not make the same client in two threads at once
            plan = restart.plan(self.rig.operator, kind, upload.image_id)
            (result,) = restart.run(self.rig.operator, [plan], None)
        started = result.outcome is restart.Outcome.STARTED
        self.require(started, f"{kind.verb}: {result.outcome}, {result.remark}")
        return started

    def _finishes(self, upload: Upload, end: Expected, old_execution: str = "") -> None:
        upload.expected = end
        self._settle(upload, old_execution)
        self._check(upload)
