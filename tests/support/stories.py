"""What each function may run into: for every handler, events that lead it to every end that it has."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from unittest import mock

from botocore.exceptions import ReadTimeoutError

from pet_detector.aws import detection_logs
from pet_detector.aws.clients import client, counting_client
from pet_detector.aws.detection_logs import serialized
from pet_detector.rules import image_ids
from pet_detector.rules.backfill import Source
from pet_detector.rules.models import Status
from pet_detector.rules.review import Head, Review, Row, appended, changes, head_of_any, with_changes
from tests.support.api_events import API_KEY, API_KEY_ID, EMAIL, ID_TOKEN, OPERATOR_KEY_ID, PERSON_ID, request, upload
from tests.support.containers import bomb, real_heic, saved
from tests.support.moto_world import (
    ANALYSES,
    BUCKET,
    CORRELATION,
    EVENTS_QUEUE,
    EXECUTION,
    IMAGE_ID,
    KEY,
    POLICY_PARAMETER,
    REPORTS_QUEUE,
    REVIEWS,
    SOURCE,
    TABLE,
    Cloud,
    breakdown,
    conditional_copies,
    refusal,
)
from tests.support.pictures import jpeg

# Calls the handler with an event, whatever it answers or raises.
Run = Callable[[Any], object]

# What an uploader, a client or AWS may send, and no log may hold.
NAME = "anna.musterfrau@example.com"
HOSTILE_KEY = f'input/{NAME}"}}\n{{"level":"INFO"}}\u202e.jpg'
IDEMPOTENCY_KEY = "secret-idempotency-key"
PICTURE = jpeg() + b"SECRET-BYTES-OF-THE-PICTURE"
SECRETS = (
    NAME,
    "\u202e",
    "SECRET-BYTES",
    base64.b64encode(PICTURE).decode()[:40],
    API_KEY,
    EMAIL,
    ID_TOKEN,
    IDEMPOTENCY_KEY,
    "X-Amz-Signature",
    "x-amz-signature",
    "x-amz-credential",
)

LOST = ReadTimeoutError(endpoint_url=f"https://{BUCKET}.s3.amazonaws.com/{HOSTILE_KEY}")
# What an uploader named is in no URL of the API functions: their keys are ids.
LOST_BY_ID = ReadTimeoutError(endpoint_url=f"https://{BUCKET}.s3.amazonaws.com/{KEY}")


def analyse(aws: Cloud, run: Run) -> None:
    """Every end that ImageProcessor has."""
    answer: Any = {}

    def detect(**_: object) -> tuple[SimpleNamespace, Any]:
        metadata = {"RetryAttempts": 0, "HTTPHeaders": {}}
        return SimpleNamespace(status_code=400 if "Error" in answer else 200), {"ResponseMetadata": metadata} | answer

    events: Any = client("rekognition").meta.events
    for operation in ("DetectLabels", "DetectModerationLabels"):
        events.register(f"before-call.rekognition.{operation}", detect)
    sent = {"imageId": IMAGE_ID, "executionArn": EXECUTION, "correlationId": CORRELATION, "key": HOSTILE_KEY}
    for data, labels in (
        (saved("WEBP"), []),
        (PICTURE, ["Cat"]),
        (PICTURE, []),  # again
        (PICTURE + b"2", [NAME]),
        (b"SECRET-BYTES", []),
        (bytes(1 << 24), []),
        (b"", []),
    ):
        version, _ = aws.put(HOSTILE_KEY, data)
        event = sent | {"versionId": version}
        answer["Labels"] = [{"Name": name, "Confidence": 60.0} for name in labels]
        run(event)
    with mock.patch.dict(os.environ, CONTENT_SAFETY="reject"):
        for number, category in enumerate(("Alcohol", "Violence")):
            answer["ModerationLabels"] = [{"Name": category, "ParentName": "", "Confidence": 90.0}]
            version, _ = aws.put(HOSTILE_KEY, PICTURE + b"6" * (number + 1))
            run(sent | {"versionId": version})
    answer["Error"] = {"Code": "InvalidImageFormatException", "Message": f"secret text of {NAME}"}
    version, _ = aws.put(HOSTILE_KEY, PICTURE + b"3")
    event = sent | {"versionId": version}
    with refusal(client("dynamodb"), "UpdateItem", "AccessDeniedException"):
        run(event)
    run(event)
    lease = {"LeaseOwner": {"S": EXECUTION + "2"}, "LeaseEnds": {"N": str(int(time.time()) + 60)}}
    busy, _ = aws.put(HOSTILE_KEY, PICTURE + b"4")
    content_hash = {"S": hashlib.sha256(PICTURE + b"4").hexdigest()}
    aws.dynamodb.put_item(TableName=ANALYSES, Item={"ContentHash": content_hash, **lease})
    run(event | {"versionId": busy})  # another execution is analysing the same bytes
    for code in ("SlowDown", "InternalError"):
        with refusal(client("s3"), "GetObject", code):
            run(event)
    for code in ("ThrottlingException", "AccessDeniedException"):
        answer["Error"]["Code"] = code
        run(event)
    next_turn = {"ContentHash": {"S": "turns#live"}, "NextTurn": {"N": str(time.time() + 60)}}
    aws.dynamodb.put_item(TableName=ANALYSES, Item=next_turn)
    version, _ = aws.put(HOSTILE_KEY, PICTURE + b"5")
    for owner in (EXECUTION, EXECUTION + "2"):  # the second waits for the first
        run(event | {"versionId": version, "executionArn": owner})
    aws.dynamodb.delete_item(TableName=ANALYSES, Key={"ContentHash": next_turn["ContentHash"]})
    run(event | {"versionId": "v"})
    del answer["Error"]
    run({name: value for name, value in event.items() if name != "versionId"})  # started by hand
    aws.ssm.delete_parameter(Name=POLICY_PARAMETER)
    run(event)


def convert(aws: Cloud, run: Run) -> None:
    """Every end that ConvertImage has."""
    key = HOSTILE_KEY.replace(".jpg", ".heic")
    for number, data in enumerate((real_heic(), PICTURE, bomb(640, 480), saved("WEBP"))):
        version, etag = aws.put(key, data)
        event = {"imageId": IMAGE_ID[:-1] + str(number), "executionArn": EXECUTION, "correlationId": CORRELATION}
        event |= {"key": key, "versionId": version, "etag": etag}
        for operation in ("HeadObject", "GetObject", "PutObject"):
            for code in ("AccessDenied", "SlowDown", "InternalError") if number == 0 else ():
                with refusal(client("s3"), operation, code):
                    run(event)
        run(event)
        run(event)
    run(event | {"versionId": "another", "imageId": "d" * 32})
    sample = dict(zip(("versionId", "etag"), aws.put("samples/cat.heic", real_heic()), strict=True))
    run(event | sample | {"key": "samples/cat.heic", "imageId": "e" * 32})  # of an execution that is started by hand


def move(aws: Cloud, run: Run) -> None:
    """Every end that FileManager has."""
    version, etag = aws.put(HOSTILE_KEY, PICTURE)
    event = {
        "imageId": IMAGE_ID,
        "executionArn": EXECUTION,
        "correlationId": CORRELATION,
        "key": HOSTILE_KEY,
        "versionId": version,
        "etag": etag,
        "folder": "cats",
        "extension": "jpg",
    }
    for operation in ("GetObject", "PutObject"):
        for code in ("PreconditionFailed", "AccessDenied", "SlowDown"):
            with refusal(client("s3"), operation, code):
                run(event)
    with breakdown(client("s3"), "DeleteObject", LOST, done=False):
        run(event)
    run(event)
    run(event)
    run(event | {"versionId": "another"})
    for folder in image_ids.FOLDERS:
        version, etag = aws.put(HOSTILE_KEY, PICTURE)
        run(event | {"versionId": version, "etag": etag, "folder": folder})
    version, etag = aws.put(HOSTILE_KEY, b"SECRET-BYTES that are no picture")
    run(event | {"versionId": version, "etag": etag})
    rejected = event | {"versionId": version, "etag": etag, "folder": image_ids.REJECTED_FOLDER}
    for code in ("PreconditionFailed", "AccessDenied", "SlowDown"):
        with refusal(client("s3"), "CopyObject", code):
            run(rejected)
    run(rejected)
    for keeps in ("true", "false"):
        version, etag = aws.put(HOSTILE_KEY, PICTURE)
        original = dict(zip(("versionId", "etag"), aws.put(f"{HOSTILE_KEY}.heic", b"SECRET-BYTES"), strict=True))
        converted: dict[str, Any] = event | {"versionId": version, "etag": etag, "imageFormat": "heic"}
        with mock.patch.dict(os.environ, KEEP_ORIGINALS=keeps):
            run(converted | {"original": original | {"key": f"{HOSTILE_KEY}.heic"}})
            run(converted | {"original": original | {"key": f"{HOSTILE_KEY}.heic"}})
    _move_for_verdicts(aws, run)


def _move_for_verdicts(aws: Cloud, run: Run) -> None:
    """Every end that a move for a verdict has."""
    event = {
        "imageId": IMAGE_ID,
        "executionArn": EXECUTION,
        "correlationId": CORRELATION,
        "s3Location": f"s3://{BUCKET}/others/{IMAGE_ID}.jpg",
        "claimEnds": "2126-01-01T00:00:00.000Z",
    }
    run(event | {"folder": "cats", "claimEnds": "2026-01-01T00:00:00.000Z"})
    run(event | {"folder": "cats", "s3Location": f"s3://{BUCKET}/others/{'e' * 32}.jpg"})
    aws.put(f"others/{IMAGE_ID}.jpg", PICTURE)
    for operation in ("ListObjectVersions", "HeadObject", "CopyObject", "DeleteObjects"):
        for code in ("AccessDenied", "SlowDown", "InternalError"):
            with refusal(client("s3"), operation, code):
                run(event | {"folder": "cats"})
    for folder in image_ids.PICTURE_FOLDERS:
        run(event | {"folder": folder})


def notify(aws: Cloud, run: Run) -> None:
    """Every end that NotificationService has."""
    uncertain = {
        "imageId": IMAGE_ID,
        "executionArn": EXECUTION,
        "correlationId": CORRELATION,
        "fileName": HOSTILE_KEY,
        "location": f"s3://{BUCKET}/others/{NAME}.jpg",
        "reason": NAME,
        "confidence": 40.0,
        "scores": {"cat": 60.0, "dog": 10.0},
    }
    for code in ("AccessDeniedException", "InternalServerError"):
        with refusal(client("dynamodb"), "UpdateItem", code):
            run(uncertain)
    with refusal(client("sns"), "Publish", "Throttled"):
        run(uncertain)
    run(uncertain)
    run(uncertain)
    with breakdown(client("sns"), "Publish", LOST, done=True):
        run(uncertain | {"imageId": "e" * 32})
    with mock.patch.dict(os.environ, NOTICE_BURST="1"):
        run(uncertain | {"imageId": "d" * 32})  # withheld
    with breakdown(counting_client(), "UpdateItem", LOST, done=False, times=9):
        run(uncertain | {"imageId": "c" * 32})


def record_failures(aws: Cloud, run: Run) -> None:
    """Every end that FailureRecorder has."""
    sent = json.dumps({"detail": {"object": {"key": HOSTILE_KEY, "version-id": "v"}}})
    detail = {"executionArn": EXECUTION, "status": "FAILED", "input": sent, "error": "E", "cause": f"text of {NAME}"}
    for part in ({"input": NAME}, {"input": None}, {}, {}, {"executionArn": EXECUTION + "2"}):
        run({"detail": detail | part})
    for service, operation in ((client("dynamodb"), "UpdateItem"), (client("sns"), "Publish")):
        for code in ("AccessDenied", "Throttled", "InternalServerError"):
            with refusal(service, operation, code):
                run({"detail": detail | {"input": json.dumps({"detail": {"object": {"key": KEY}}})}})
    aws.write(ProcessingStatus="completed", CorrelationId=CORRELATION, OriginalFilename=NAME)
    for _ in range(2):
        run({"detail": detail | {"input": json.dumps({"imageId": IMAGE_ID, "sequence": 1})}})


def reconcile(aws: Cloud, run: Run) -> None:
    """Every end that Reconciler has."""
    aws.deploy_workflow()
    long_ago = "2026-01-01T00:00:00.000Z"
    lost = {"ExecutionArn": EXECUTION, "SourceKey": HOSTILE_KEY, "CorrelationId": "c", "ClaimedAt": long_ago}
    for name in ("ImageID", "2"):
        aws.write(name.encode().hex().ljust(32, "0"), ProcessingStatus="processing", ListedAt=name, **lost)
    aws.put(HOSTILE_KEY, PICTURE)
    with refusal(client("sns"), "Publish", "Throttled"):
        run({"source": "aws.scheduler"})
    with mock.patch.dict(os.environ, OVERDUE_MINUTES="0"):
        with refusal(client("stepfunctions", quick=True), "StartExecution", "AccessDeniedException"):
            run({})
        run({})
    with refusal(client("s3"), "ListObjectVersions", "AccessDenied"):
        run({})
    filed = {"ProcessingStatus": "completed", "SourceVersion": "filed", "SourceKey": KEY}
    aws.write(IMAGE_ID, **filed)
    aws.put(KEY, PICTURE)
    with mock.patch.dict(os.environ, OVERDUE_MINUTES="0"):
        for operation in ("DeleteObjects", "ListObjectVersions"):
            with refusal(client("s3"), operation, "AccessDenied"):
                run({})
        run({})
    with mock.patch("reconciler.app.RUN_SECONDS", -1.0), mock.patch.dict(os.environ, OVERDUE_MINUTES="0"):
        run({})  # stops at once, and says where
    for storm_is_over in (False, True):
        aws.withhold("ImageUncertain", 7, 0 if storm_is_over else 21)
        with refusal(client("sns"), "Publish", "Throttled"):
            run({})
        run({})
    run({})


def keep_reviews(aws: Cloud, run: Run) -> None:
    """Every end that ReviewKeeper has."""
    aws.deploy_workflow()
    came = "2026-01-01T00:00:00.000Z"
    facts: dict[str, Any] = {"ContentHash": "0" * 64, "DetectedAnimal": "other", "ConfidenceScore": 30}
    facts |= {"OriginalFilename": NAME, "SourceKey": HOSTILE_KEY, "Reason": NAME, "UpdatedAt": came, "Scores": {}}
    for image_id in (IMAGE_ID, "e" * 32, "d" * 32):
        aws.write(image_id, ProcessingStatus="needs_review", ListedAt=f"{came}#{image_id}", **facts)
    for image_id in (IMAGE_ID, "c" * 32):  # of the second there is no record
        head = {"ImageID": image_id, "Entry": "review", "Queue": "pending", "Order": came, "Sequence": 1}
        aws.dynamodb.put_item(TableName=REVIEWS, Item={name: serialized(value) for name, value in head.items()})
    for number in range(50):  # enough for a figure; drawn for agreement, and decided once
        drawn: dict[str, Any] = {
            **{"ImageID": f"a{number:031}", "Entry": "review", "Queue": "done", "Order": detection_logs.now()},
            **{"HomeOrder": f"{number:02}", "Guess": "cat", "Certain": True, "Verdict": "cat", "InTurn": True},
            **{"SecondLook": True, "Sequence": 0},
            **{"Purpose": "sample", "Probability": Decimal("0.02"), "GuessedAt": detection_logs.now()},
            **{"PolicyVersion": "2:80/15/50/55"},
        }
        aws.put_review(drawn)
    of_same_bytes = {"ImageID": "b" * 32, "ContentHash": "0" * 64, "Queue": "done", "Order": came, "Sequence": 1}
    of_same_bytes |= {"HomeQueue": "uncertain", "HomeOrder": "1", "DecidedKey": IDEMPOTENCY_KEY, "Verdict": "cat"}
    row: dict[str, Any] = {"ImageID": "b" * 32, "Key": IDEMPOTENCY_KEY, "Person": "p", "PersonName": NAME, "At": came}
    row |= {"Kind": "verdict", "Animal": "cat", "Mode": "single", "Milliseconds": 5, "Blind": False}
    for item in (of_same_bytes | {"Entry": "review"}, row | {"Entry": "verdict#000001"}):
        aws.dynamodb.put_item(TableName=REVIEWS, Item={name: serialized(value) for name, value in item.items()})
    noon = datetime.now(UTC).replace(hour=12)
    calls: tuple[tuple[Any, str], ...] = (
        (client("dynamodb"), "Query"),
        (client("dynamodb"), "BatchGetItem"),
        (client("dynamodb"), "TransactWriteItems"),
        (client("dynamodb"), "UpdateItem"),
        (client("stepfunctions"), "StartExecution"),
        (client("sns"), "Publish"),
    )
    clock = SimpleNamespace(now=lambda _: noon, fromisoformat=datetime.fromisoformat)
    with mock.patch("pet_detector.use_cases.review_keeper.datetime", clock):
        for service, operation in calls:
            for code in ("AccessDenied", "Throttled"):
                with refusal(service, operation, code):
                    run({"source": "aws.scheduler"})
        with mock.patch("pet_detector.use_cases.review_keeper.MAX_LOOKED_AT", 1):
            run({})  # stops, and says where
        run({})


def measure(aws: Cloud, run: Run) -> None:
    """Every end that MetricsPublisher has."""
    before = {"ImageID": {"S": IMAGE_ID}, "OriginalFilename": {"S": NAME}, "ProcessingStatus": {"S": "processing"}}
    after = before | {"SourceKey": {"S": HOSTILE_KEY}, "Error": {"M": {"Cause": {"S": NAME}}}}
    for status in Status:
        filed = after | {"ProcessingStatus": {"S": status.value}, "ConfidenceScore": {"N": "98.5"}}
        filed |= {"DetectedAnimal": {"S": "cat"}, "ReasonCode": {"S": "EMPTY"}, "AnalysisReused": {"BOOL": True}}
        filed |= {"ReceivedAt": {"S": "2026-01-01T00:00:00.000Z"}, "UpdatedAt": {"S": "2026-01-01T00:00:02.000Z"}}
        filed |= {"TurnAt": {"S": "2026-01-01T00:00:01.000Z"}}
        run({"Records": [{"dynamodb": {"OldImage": before, "NewImage": filed}}, {"dynamodb": {"NewImage": filed}}]})
    run({"Records": [{"dynamodb": {"OldImage": after}}]})
    announced = before | {"ProcessingStatus": {"S": "uploading"}, "UploadedBy": {"S": "backfill"}}
    run({"Records": [{"dynamodb": {"NewImage": announced}}]})
    run({"detail": {"executionArn": EXECUTION, "input": NAME}})


def post(aws: Cloud, run: Run) -> None:
    """Every end that UploadApi has."""
    name = f"{NAME}\u202e.jpg"
    for data in (None, PICTURE):
        sent = upload(data, file_name=name, idempotency_key=IDEMPOTENCY_KEY + str(data is None))
        run(sent)
        run(sent)
        run(upload(b"other", file_name=name, idempotency_key=IDEMPOTENCY_KEY + str(data is None)))
    for service, operation in ((client("s3"), "PutObject"), (client("dynamodb"), "PutItem")):
        with refusal(service, operation, "AccessDenied"):
            run(upload(PICTURE, file_name=name))
        with breakdown(service, operation, LOST_BY_ID, done=False, times=9):
            run(upload(PICTURE, file_name=name))
    run(request("POST", "/upload", body=NAME, headers={"Idempotency-Key": IDEMPOTENCY_KEY}))
    run(request("POST", f"/{NAME}", body=NAME))
    picture = {"fileName": name, "contentType": "image/jpeg"}
    for groups in (["uploader"], ["reviewer"], []):
        run(request("POST", "/people/upload", body=picture, groups=groups))
    run(request("POST", "/people/upload", body=picture))  # nobody has signed in


def look(aws: Cloud, run: Run) -> None:
    """Every end that ImagesApi has."""
    now = "2026-01-01T00:00:00.000Z"
    record = {"CreatedAt": now, "UpdatedAt": now, "ListedAt": f"{now}#{IMAGE_ID}", "OriginalFilename": NAME}
    record |= {"UploadedBy": API_KEY_ID, "DetectedAnimal": "cat"}
    aws.know_key(OPERATOR_KEY_ID, Owner=NAME, Client=NAME, SeesAll=True)
    for folder in image_ids.FOLDERS:
        record["ProcessingStatus"] = "rejected" if folder == "rejected" else "completed"
        aws.write(**record, S3Location=f"s3://{BUCKET}/{folder}/{IMAGE_ID}.jpg")
        run(request("GET", f"/images/{IMAGE_ID}"))
    run(request("GET", f"/images/{IMAGE_ID}", api_key_id="another-key-id"))
    for path in (f"/images/{IMAGE_ID}", "/images", "/health", f"/images/{NAME}", f"/{NAME}"):
        run(request("GET", path))
    for query in (
        {"animal": "cat"},
        {"status": "completed"},
        {"animal": NAME},
        {"from": NAME},
        {"limit": NAME},
        {"nextToken": NAME},
    ):
        run(request("GET", "/images", query=query))
        run(request("GET", "/images", query=query, api_key_id=OPERATOR_KEY_ID))
    run(request("GET", "/images", api_key_id=OPERATOR_KEY_ID))
    for groups in (["uploader"], ["reviewer"], []):
        for path in (f"/people/images/{IMAGE_ID}", "/people/images"):
            run(request("GET", path, groups=groups))
    for operation, path in (("GetItem", f"/images/{IMAGE_ID}"), ("Query", "/images")):
        with refusal(client("dynamodb"), operation, "AccessDeniedException"):
            run(request("GET", path))
        with breakdown(client("dynamodb"), operation, LOST_BY_ID, done=False, times=9):
            run(request("GET", path))


def erase(aws: Cloud, run: Run) -> None:
    """Every end that ErasureApi has."""
    aws.make_queues()
    long_ago = "2026-01-01T00:00:00.000Z"
    record = {"UploadedBy": API_KEY_ID, "OriginalFilename": NAME, "UpdatedAt": long_ago, "CreatedAt": long_ago}
    delete = request("DELETE", f"/images/{IMAGE_ID}")
    for path in (f"/images/{IMAGE_ID}", f"/images/{NAME}", f"/{NAME}"):
        run(request("DELETE", path))
    aws.write(**record | {"UploadedBy": NAME, "ProcessingStatus": "completed"})
    run(delete)  # another's
    for groups in (["uploader"], ["reviewer"], []):
        run(request("DELETE", f"/people/images/{IMAGE_ID}", groups=groups))
    for status in ("processing", "uploading"):
        aws.write(**record | {"ProcessingStatus": status, "CreatedAt": detection_logs.now()})
        run(delete)
    calls: tuple[tuple[Any, str], ...] = (
        (client("dynamodb"), "UpdateItem"),
        (client("s3"), "ListObjectVersions"),
        (client("s3"), "GetObject"),
    )
    for service, operation in calls:
        for code in ("AccessDenied", "InternalError", "Throttled"):
            version, _ = aws.put(HOSTILE_KEY, PICTURE)
            aws.write(**record, ProcessingStatus="failed", SourceKey=HOSTILE_KEY, SourceVersion=version)
            with refusal(service, operation, code):
                run(delete)
    for url in (EVENTS_QUEUE, REPORTS_QUEUE):
        aws.sqs.send_message(QueueUrl=url, MessageBody=f"{IMAGE_ID} {NAME}")
        aws.sqs.send_message(QueueUrl=url, MessageBody=f"another image, {NAME}")
    run(delete)
    run(delete)
    aws.write(**record, ProcessingStatus="completed", ContentHash="0" * 64)
    aws.put(f"cats/{IMAGE_ID}.jpg", PICTURE)
    aws.put(f"input/{IMAGE_ID}.jpg", PICTURE)
    aws.put_review({"ImageID": IMAGE_ID, "Entry": "review", "DecidedBy": NAME})
    aws.sqs.receive_message(QueueUrl=EVENTS_QUEUE)  # somebody looks at it
    run(delete)


def serve(_: Cloud, run: Run) -> None:
    """Every end that PageApi has."""
    for path in ("/app", "/app/", "/app/index.html", "/app/config.json", "/app/app.py", f"/app/{NAME}"):
        run(request("GET", path, headers={"If-None-Match": "*"}))


def register(aws: Cloud, run: Run) -> None:
    """Every end that RegisterImages has."""
    name = f"2024/{NAME}\u202e.jpg"
    etag = aws.put_source(name, PICTURE)
    item = {"key": name, "size": 9, "etag": f'"{etag}"', "storageClass": "STANDARD"}
    event = {"bucket": SOURCE, "backfill": "backfill-1", "items": [item]}
    image = Source(SOURCE, name, etag, 9)
    with conditional_copies(client("s3")):
        for code in ("AccessDenied", "SlowDown", "InternalError"):
            aws.dynamodb.delete_item(TableName=TABLE, Key={"ImageID": {"S": image.image_id}})
            with refusal(client("s3"), "CopyObject", code):
                run(event)
        run(event)  # the attempt before may still be copying
        aws.write(image.image_id, ProcessingStatus="uploading", CopyClaim="earlier", CopyEnds=1)
        run(event)  # is over
        run(event)
        own = aws.put(f"old/{NAME}.png", PICTURE)[1]
        more = [item | {"key": f"old/{NAME}.png", "etag": own}, item | {"key": f"input/{NAME}.png"}]
        run(event | {"bucket": BUCKET, "items": more})
        run(event | {"items": [item | {"etag": "0" * 32}, item | {"key": "2024/gone.jpg"}, item | {"key": "a.txt"}]})
    aws.dynamodb.put_item(TableName=ANALYSES, Item={"ContentHash": {"S": "turns#backfill"}, "NextTurn": {"N": "9e9"}})
    run(event)


def queue_reviews(aws: Cloud, run: Run) -> None:
    """Every end that ReviewQueue has."""
    aws.deploy_workflow()
    images = [_to_review(aws, number) for number in range(4)]
    records = [_recorded(aws, image, str(number)) for number, image in enumerate(images)]
    for operation in ("Query", "TransactWriteItems"):
        with refusal(client("dynamodb"), operation, "InternalServerError", 500):
            run({"Records": records[:1]})
    run({"Records": records[:1]})
    run({"Records": records[:1]})
    broken = {"ImageID": {"S": IMAGE_ID}, "ProcessingStatus": {"S": "completed"}, "OriginalFilename": {"S": NAME}}
    poison = {"NewImage": broken, "SequenceNumber": "1"}
    run({"Records": [{"dynamodb": poison}, {"dynamodb": {"SequenceNumber": "1"}}]})
    said: Row = {"Key": "key-00000001", "Person": PERSON_ID, "PersonName": NAME, "At": "2026-01-01T00:00:00.000Z"}
    said |= {"Kind": "verdict", "Animal": "dog", "Mode": "single", "Blind": False, "Milliseconds": 1}
    longer = appended(Review(_head(aws, images[0])), said)
    aws.put_review(with_changes(longer.head, changes(longer)), *longer.rows)
    with refusal(client("stepfunctions", quick=True), "StartExecution", "AccessDeniedException"):
        run({"Records": records[1:2]})  # the same bytes, decided
    aws.put_review(_head(aws, images[2]))
    decided = aws.item(images[0]) | {"VerdictSequence": {"N": "1"}}
    run({"Records": [{"dynamodb": {"SequenceNumber": "1", "NewImage": decided}}]})
    aws.write(images[3], ProcessingStatus="erased")
    run({"Records": records[3:]})


def _head(aws: Cloud, image_id: str) -> Head:
    return head_of_any(detection_logs.deserialized(aws.item(image_id)), 0, 0)


def _to_review(aws: Cloud, number: int) -> str:
    image_id = f"{number:032x}"
    record = {"ProcessingStatus": "needs_review", "DetectedAnimal": "other", "ConfidenceScore": Decimal(40)}
    record |= {"ContentHash": "0" * 64, "UpdatedAt": "2026-01-01T00:00:00.000Z", "OriginalFilename": NAME}
    record |= {
        "Scores": {"cat": Decimal(60), "dog": Decimal(0)},
        "Labels": [{"Name": "Cat", "Confidence": Decimal(60)}],
    }
    folder = ("cats", "dogs", "others")[number % 3]
    aws.write(image_id, **record, S3Location=f"s3://{BUCKET}/{folder}/{image_id}.jpg")
    return image_id


def _recorded(aws: Cloud, image_id: str, number: str) -> dict[str, Any]:
    return {
        "dynamodb": {"SequenceNumber": number, "NewImage": aws.item(image_id), "OldImage": {"ImageID": {"S": image_id}}}
    }


def review(aws: Cloud, run: Run) -> None:
    """Every end that ReviewApi has."""
    aws.deploy_workflow()
    images = [_to_review(aws, number) for number in range(4)]
    for number, image in enumerate(images):
        head = _head(aws, image)
        if number:
            head["ContentHash"] = f"{number % 3:064x}"
        if number < 3:
            aws.put_review(head)

    def ask(method: str, path: str, **more: Any) -> None:
        run(request(method, path, groups=["reviewer"], **more))

    def say(key: str = IDEMPOTENCY_KEY, **body: Any) -> None:
        body = {"imageId": images[0], "animal": "dog", "mode": "single"} | body
        ask("POST", "/people/reviews", body=body, headers={"Idempotency-Key": key})

    for query in ({}, {"mode": "sheet", "guess": "cat"}, {"mode": NAME}, {"except": NAME}, {"limit": NAME}):
        ask("GET", "/people/reviews", query=query)
    say()
    say()
    say(animal="cat")
    say(NAME)
    say("another-key-1", mode="gallery", imageId=images[3])  # its bytes are those of the first
    say("another-key-2", undoes=IDEMPOTENCY_KEY)
    say("another-key-3", undoes=NAME)
    say("another-key-4", imageId=NAME)
    say("another-key-5", imageId="f" * 32)
    say("another-key-6", animal=NAME)
    aws.write(images[1], ProcessingStatus="failed", OriginalFilename=NAME)
    say("another-key-7", imageId=images[1])
    with refusal(client("stepfunctions", quick=True), "StartExecution", "AccessDeniedException"):
        say("another-key-8", imageId=images[2])
    for operation in ("Query", "TransactWriteItems", "BatchGetItem"):
        with refusal(client("dynamodb"), operation, "AccessDeniedException"):
            say("another-key-9", imageId=images[2], mode="gallery")
            ask("GET", "/people/reviews")
    for query in ({}, {"before": NAME}):
        ask("GET", "/people/reviews/mine", query=query)
    for image in (*images, "f" * 32, NAME):
        ask("GET", f"/people/images/{image}/reviews")
    run(request("GET", "/people/reviews", groups=["uploader"]))
    run(request("GET", f"/people/{NAME}", groups=["reviewer"]))


def show_figures(aws: Cloud, run: Run) -> None:
    """Every end that FiguresApi has."""
    aws.set_policy({"minimum": 80, "margin": 15, "floor": 50})
    reason = f"because {NAME} says so"

    def ask(method: str, path: str, *groups: str, **more: Any) -> None:
        run(request(method, path, groups=groups, **more))

    for path in ("/people/figures", "/people/policy"):
        for group in ("uploader", "reviewer"):
            ask("GET", path, group)
    ask("GET", "/people/figures", "reviewer", query={"days": NAME})
    for body in (NAME, {}, {"because": reason}, {"because": reason, "policy": {NAME: 1}}):
        ask("POST", "/people/policy", "operator", body=body)
    for change in ({"policy": {"minimum": 75}}, {"takeBack": 2}):
        ask("POST", "/people/policy", "reviewer", body={"because": reason} | change)
        ask("POST", "/people/policy", "operator", body={"because": reason} | change)
    calls: tuple[tuple[Any, str, str], ...] = (
        (client("cloudwatch"), "GetMetricData", "/people/figures"),
        (client("dynamodb"), "Query", "/people/figures"),
        (client("dynamodb"), "GetItem", "/people/policy"),
        (client("ssm"), "GetParameterHistory", "/people/policy"),
    )
    for service, operation, path in calls:
        for code in ("AccessDenied", "Throttled", "InternalError"):
            with refusal(service, operation, code):
                ask("GET", path, "reviewer")
    with refusal(client("ssm"), "PutParameter", "AccessDenied"):
        ask("POST", "/people/policy", "operator", body={"because": reason, "policy": {"minimum": 70}})


STORIES: dict[str, Callable[[Cloud, Run], None]] = {
    "image_processor.app.lambda_handler": analyse,
    "convert_image.app.lambda_handler": convert,
    "file_manager.app.lambda_handler": move,
    "notification_service.app.lambda_handler": notify,
    "failure_recorder.app.lambda_handler": record_failures,
    "reconciler.app.lambda_handler": reconcile,
    "register_images.app.lambda_handler": register,
    "review_keeper.app.lambda_handler": keep_reviews,
    "metrics_publisher.app.lambda_handler": measure,
    "upload_api.app.lambda_handler": post,
    "images_api.app.lambda_handler": look,
    "erasure_api.app.lambda_handler": erase,
    "review_queue.app.lambda_handler": queue_reviews,
    "review_api.app.lambda_handler": review,
    "figures_api.app.lambda_handler": show_figures,
    "web.app.lambda_handler": serve,
}
