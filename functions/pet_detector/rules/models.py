"""The types of the domain."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import TypedDict

# The fact, in a record's Notices, that reviewers were notified of an uncertain image.
REVIEW_FACT = "uncertain"
# Why later uploads with the form of a finished image are rejected. In no record's ReasonCode: see Record.Superseded.
SUPERSEDED = "SUPERSEDED"
# UploadedBy of what a backfill registered, and of what came straight into the bucket (image_workflow.asl.yaml says it).
BACKFILL = "backfill"
STRAIGHT_INTO_S3 = "s3"


# ProcessingStatus of what is left of an erased image: a mark that no event, restart or backfill gets past. It is no
# Status, because readers find no image there.
ERASED = "erased"


class Animal(StrEnum):
    """What a picture shows, and so which folder it is filed in."""

    CAT = "cat"
    DOG = "dog"
    OTHER = "other"


class Status(StrEnum):
    """A record's ProcessingStatus: uploading, processing, then one of the others.

    Held and failed images go back to processing when they are started again; completed, needs_review and rejected are
    final.
    """

    UPLOADING = "uploading"  # announced through the API; no object yet
    PROCESSING = "processing"  # an execution has claimed it; it may wait for its turn to be analysed
    COMPLETED = "completed"
    NEEDS_REVIEW = "needs_review"  # uncertain: filed under others/, and reviewers were notified
    REJECTED = "rejected"  # not a picture that can be analysed, or an unsafe one
    HELD = "held"  # the daily limit of analysed images is reached; it waits in input/ for the next day
    FAILED = "failed"  # an error of the service, not of the picture; the object is still stored


class ReasonCode(StrEnum):
    """Why a picture was rejected. Clients depend on these names: add to them, never change them."""

    NOT_AN_IMAGE = "NOT_AN_IMAGE"
    UNSUPPORTED_FORMAT = "UNSUPPORTED_FORMAT"
    TOO_SMALL = "TOO_SMALL"
    TOO_LARGE = "TOO_LARGE"
    TOO_MANY_PIXELS = "TOO_MANY_PIXELS"
    TRUNCATED = "TRUNCATED"
    DAMAGED = "DAMAGED"
    EMPTY = "EMPTY"
    UNSAFE_CONTENT = "UNSAFE_CONTENT"  # only with ContentSafety=reject


class ImageFormat(StrEnum):
    """Formats that can be uploaded. The value is the record's ImageFormat and the upload's extension."""

    JPEG = "jpg"
    PNG = "png"
    WEBP = "webp"
    AVIF = "avif"
    HEIC = "heic"

    @property
    def content_type(self) -> str:
        """The MIME type, as in the header Content-Type."""
        return f"image/{self.name.lower()}"

    @property
    def is_converted(self) -> bool:
        """Whether Amazon Rekognition cannot read it: a JPEG is made of it, which is analysed and filed."""
        return self not in (ImageFormat.JPEG, ImageFormat.PNG)

    @classmethod
    def of_record(cls, recorded: str) -> str:
        """A record's ImageFormat by today's name: records from before 0.1.0 hold JPEG and PNG; others stay."""
        return cls[recorded].value if recorded in cls.__members__ else recorded


@dataclass(frozen=True)
class Label:
    """One thing that Rekognition sees in a picture. `confidence` is in percent, 0 to 100."""

    name: str
    confidence: float


@dataclass(frozen=True)
class Moderation:
    """The top-level categories of unsafe content that Rekognition saw, from 50 percent, and its model's version."""

    categories: tuple[Label, ...]
    model_version: str


@dataclass(frozen=True)
class Recognition:
    """The labels that are kept, and the version of Rekognition's model that saw them.

    A decision is made from nothing else, so it can be made again from a record alone. `moderation` is None when
    Rekognition was not asked whether the picture is safe.
    """

    labels: tuple[Label, ...]
    model_version: str
    moderation: Moderation | None = None


@dataclass(frozen=True)
class Scores:
    """Confidence for a cat and for a dog, each in percent, 0 to 100; 0 without such a label."""

    cat: float
    dog: float


@dataclass(frozen=True)
class Decision:
    """What the policy made of the labels.

    `confidence` (percent) is the score of the animal; for `other` it is 100 minus the higher of the two scores. An
    image that is not `certain` is always filed as `other`. `reason` is a sentence that says why.
    """

    animal: Animal
    confidence: float
    certain: bool
    reason: str
    scores: Scores


@dataclass(frozen=True)
class Rejection:
    """Why a picture is not accepted: a stable code, and a sentence for the person who uploaded it."""

    code: ReasonCode
    reason: str


@dataclass(frozen=True)
class ImageHeader:
    """What the first bytes of a picture say. `width` and `height` are in pixels."""

    format: ImageFormat
    width: int
    height: int


@dataclass(frozen=True)
class Measurement:
    """One value of a metric. `unit` is a CloudWatch unit; `dimension` is a (name, value), never with an id as value."""

    metric: str
    value: float = 1
    unit: str = "Count"
    dimension: tuple[str, str] | None = None


class LoggedError(TypedDict):
    """The error that failed an image: its name, and the end of its message or of its stack trace."""

    Error: str
    Cause: str


class LoggedLabel(TypedDict):
    """A Label, as a record keeps it."""

    Name: str
    Confidence: Decimal


class Record(TypedDict, total=False):
    """An item of the table DetectionLogs. Which attributes are there depends on how far the image has come."""

    ImageID: str
    ProcessingStatus: str  # a Status
    DetectedAnimal: str  # an Animal
    ConfidenceScore: Decimal  # percent
    Certain: bool
    Scores: dict[str, Decimal]  # percent, by cat and dog
    Reason: str
    ReasonCode: str  # of a rejected image
    Labels: list[LoggedLabel]
    PolicyVersion: str
    ModelVersion: str
    ModerationVersion: str  # of the model that found nothing unsafe, with ContentSafety=reject
    AnalysisReused: bool
    ContentHash: str  # SHA-256, hexadecimal
    FileSize: Decimal  # bytes
    ImageFormat: str  # jpg, png, or unknown for what was rejected unread
    S3Location: str  # s3://bucket/key
    OriginalFilename: str
    UploadedBy: str  # its owner: the first key of an API client; BACKFILL; STRAIGHT_INTO_S3
    RequestFingerprint: str
    CopyClaim: str  # the last attempt to copy it in, of a backfill
    CopyEnds: Decimal | int  # seconds since 1970, from when on another attempt may
    CorrelationId: str
    SourceKey: str
    SourceVersion: str  # or NEWEST
    ExecutionArn: str  # of the execution that claimed it last
    Executions: set[str]
    Notices: set[str]  # the facts that people were notified of
    NoticeClaim: str
    Error: LoggedError
    Superseded: Decimal | int  # later uploads with the same form that were rejected
    ErasedAt: str  # of an erased image: when
    RebuiltAt: str  # of a record that was lost, and made again from the object: when
    VerdictSequence: Decimal | int  # of people's verdicts and undos about it: the last one that was carried out
    ReviewedBy: str  # id of the person whose verdict holds
    MachineAnimal: str  # what the workflow had decided before people did
    ReviewClaim: str  # the execution of the review machine that moves it, and since when
    ReviewClaimedAt: str
    Timestamp: str  # when it was filed; this and the next seven are RFC 3339 UTC
    ReviewedAt: str
    ClaimedAt: str
    TurnAt: str  # when its turn to be analysed comes or came, if it had to wait for one
    ReceivedAt: str
    CreatedAt: str
    UpdatedAt: str
    ListedAt: str  # "<CreatedAt>#<ImageID>", the sort key of the indexes
    Shard: str
    StatusShard: str
    AnimalShard: str
    OwnerShard: str
    ExpiresAt: Decimal | int  # seconds since 1970
