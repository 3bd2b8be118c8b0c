"""What the tasks of the workflow are answered in its tests: results and errors as AWS and the functions give them."""

from __future__ import annotations

import json
from typing import Any

from pet_detector.aws.rekognition import LABEL_NAME_LENGTH, LABELS_KEPT

from .executions import CORRELATION_ID, IMAGE_ID, KEY, SHARD, UPLOADER, VERSION_ID

# One attempt's answer, as a mock configuration writes it: {"Return": ...} or {"Throw": ...}.
Answer = dict[str, Any]


def returns(result: Any) -> Answer:
    """The attempt succeeds."""
    return {"Return": result}


def throws(error: str, cause: str | None) -> Answer:
    """The attempt fails. A cause of None is left out, as AWS does with some errors."""
    return {"Throw": {"Error": error} | ({} if cause is None else {"Cause": cause})}


def called(payload: Any) -> Answer:
    """A function returns this."""
    return returns({"StatusCode": 200, "Payload": payload})


def function(error: str, message: str) -> Answer:
    """A function raises this error; the cause is the document that Lambda makes of it."""
    document = {
        "errorMessage": message,
        "errorType": error,
        "requestId": "8f507cfc-xmpl-4697-b07a-ac58fc914c95",
        "stackTrace": ['  File "/var/task/app.py", line 42, in lambda_handler\n'],
    }
    return throws(error, json.dumps(document))


def dynamodb(error: str) -> Answer:
    """DynamoDB fails; Step Functions puts the service before the name."""
    return throws(f"DynamoDB.{error}", "DynamoDB could not do it")


def lambda_service(error: str) -> Answer:
    """Lambda fails before, instead of or after the function."""
    return throws(error, "Lambda could not do it")


def moved(folder: str, extension: str, original: str = "") -> Answer:
    """FileManager's answer."""
    key = f"{folder}/{IMAGE_ID}.{extension}"
    return called({"key": key, "s3Location": f"s3://images/{key}", "originalLocation": original})


def _claimed(version: str) -> Answer:
    attributes = {
        "ImageID": IMAGE_ID,
        "Shard": SHARD,
        "SourceKey": KEY,
        "SourceVersion": version,
        "OriginalFilename": "Whiskers.jpg",
        "ProcessingStatus": "processing",
        "CorrelationId": CORRELATION_ID,
        "UploadedBy": UPLOADER,
    }
    return returns({"Attributes": {name: {"S": text} for name, text in attributes.items()}})


CLAIMED, CLAIMED_NEWEST = _claimed(VERSION_ID), _claimed("newest")
WRITTEN = returns({})
NOTICE_SENT = called({"notice": "sent"})
RECORDED = called({"recorded": True, "notice": "sent"})
HELD_BACK = called({"outcome": "held"})
WAITING = called({"outcome": "waiting", "until": "2026-11-21T09:30:00Z"})

_STORED = {"fileSize": 48213, "etag": "9b2cf535f27731c974343645a3985328", "versionId": VERSION_ID}
_HASH = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


def _classified(**facts: Any) -> dict[str, Any]:
    return {
        **_STORED,
        "contentHash": _HASH,
        "imageFormat": "jpg",
        "extension": "jpg",
        "outcome": "classified",
        "reused": False,
        "policyVersion": "2:80/15/50/55",
        "modelVersion": "3.0",
        **facts,
    }


def _rejected(code: str, reason: str, **facts: Any) -> dict[str, Any]:
    return {
        **_STORED,
        "contentHash": "",
        "imageFormat": "unknown",
        "extension": "bin",
        "outcome": "rejected",
        "reasonCode": code,
        "reason": reason,
        **facts,
    }


REJECTIONS = {
    "NotAnImage": _rejected(
        "NOT_AN_IMAGE", "The file is not a picture, whatever its name says; send it as JPEG or PNG."
    ),
    "UnsupportedFormat": _rejected("UNSUPPORTED_FORMAT", "The file is GIF; send it as JPEG or PNG."),
    "TooSmall": _rejected("TOO_SMALL", "The picture has 8 x 8 px; each side needs at least 80."),
    "TooLarge": _rejected(
        "TOO_LARGE", "The file has 16,000,000 bytes; at most 15,728,640 (15 MB) can be analysed.", fileSize=16_000_000
    ),
    "TooManyPixels": _rejected("TOO_MANY_PIXELS", "The picture has 13,300 x 13,300 px; send a smaller one."),
    "Truncated": _rejected("TRUNCATED", "The JPEG file ends before its picture ends; upload it again."),
    "Damaged": _rejected("DAMAGED", "The JPEG file has two frames; save the picture anew and upload that file."),
    "Empty": _rejected("EMPTY", "The file is empty: nothing was uploaded.", fileSize=0),
    "UnsafeContent": _rejected(
        "UNSAFE_CONTENT", "Amazon Rekognition sees content that is not accepted here: Violence."
    ),
}
# What ImageProcessor returns, by what is on the picture or why it is rejected.
ANALYSES: dict[str, dict[str, Any]] = {
    "cat": _classified(
        animal="cat",
        confidence=97.31,
        certain=True,
        reason="Cat 97.31 % is at least 80 %, and Dog 2.05 % is far below.",
        scores={"cat": 97.31, "dog": 2.05},
        labels=[
            {"name": "Cat", "confidence": 97.31},
            {"name": "Animal", "confidence": 97.31},
            {"name": "Sofa", "confidence": 61.5},
        ],
    ),
    "dog": _classified(
        imageFormat="png",
        extension="png",
        animal="dog",
        confidence=100,
        certain=True,
        reason="Dog 100 % is at least 80 %.",
        scores={"cat": 0, "dog": 100},
        labels=[{"name": "Dog", "confidence": 100}],
    ),
    "other": _classified(
        animal="other",
        confidence=100,
        certain=True,
        reason="Neither Cat nor Dog was seen.",
        scores={"cat": 0, "dog": 0},
        labels=[],
    ),
    "uncertain": _classified(
        animal="other",
        confidence=27.6,
        certain=False,
        reason="Cat 72.4 % is below 80 %, but above 50 %.",
        scores={"cat": 72.4, "dog": 55.12},
        labels=[{"name": "Cat", "confidence": 72.4}, {"name": "Dog", "confidence": 55.12}],
    ),
    **REJECTIONS,
}
# As large as they can be: tests/unit/test_image_processor.py holds the functions to these sizes.
LARGEST_ANALYSIS = {
    **ANALYSES["uncertain"],
    "versionId": "v" * 1024,
    "reason": "r" * 300,
    "labels": [{"name": "\x01" * LABEL_NAME_LENGTH, "confidence": 99.123456789}] * LABELS_KEPT,
}
LARGEST_CLAIM = returns(
    {
        "Attributes": {
            **CLAIMED["Return"]["Attributes"],
            "SourceKey": {"S": "input/" + "\x01" * 1018},
            "SourceVersion": {"S": "v" * 1024},
            "OriginalFilename": {"S": "\x01" * 1018},
            **{
                name: {"SS": [f"arn:aws:states:us-east-1:000000000000:execution:{'w' * 80}:{n:080}" for n in range(51)]}
                for name in ("Executions", "Notices")
            },
        }
    }
)
LARGEST_CAUSE = throws("E" * 256, "c" * 32_768)  # AWS allows no larger one
CAT_AGAIN = called({**ANALYSES["cat"], "reused": True})
SAFE_CAT = called({**ANALYSES["cat"], "moderationVersion": "7.0"})

# A HEIC: what it is, where the JPEG lies that is made of it, and what is on that.
ORIGINAL_LOCATION = f"s3://images/originals/{IMAGE_ID}.heic"
TO_CONVERT = called({**_STORED, "contentHash": _HASH, "imageFormat": "heic", "extension": "bin", "outcome": "convert"})
CONVERTED_VERSION = "c0nv3rt3d"
CONVERTED_KEY = f"converted/{IMAGE_ID}.jpg"
CONVERTED = called({"outcome": "converted", "converted": {"key": CONVERTED_KEY, "versionId": CONVERTED_VERSION}})
UNDECODABLE = called({"outcome": "rejected", "reasonCode": "DAMAGED", "reason": "The HEIC file cannot be decoded."})
OF_CONVERTED = {"imageFormat": "heic", "versionId": CONVERTED_VERSION, "etag": '"c"', "convertedHash": "c" * 64}
CONVERTED_CAT = {**ANALYSES["cat"], **OF_CONVERTED}
