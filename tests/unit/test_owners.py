"""Whose picture: every key with every image, endpoint, filter, page token and Idempotency-Key."""

from __future__ import annotations

import importlib
import io
import itertools
import json
from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext

from pet_detector.aws import api_clients, detection_logs, image_bucket
from pet_detector.aws.api_clients import ApiClient
from pet_detector.aws.clients import client
from pet_detector.rules import image_ids
from pet_detector.rules.errors import RequestError, ServiceError
from pet_detector.rules.models import BACKFILL, Animal, Record, Status
from tests.support.api_events import REQUEST_ID, body_of, refused, request, upload
from tests.support.moto_world import BUCKET, TABLE, Cloud, refusal

# The keys that ask. B has rotated its key: both are of one owner. A's key has no item, as that of template.yaml.
KEYS = ("key-of-a", "key-of-b", "new-key-of-b", "key-of-operator")
# Whose the images are. `s3`: came straight into the bucket; None: an execution failed before there was an owner.
OWNERS = ("key-of-a", "key-of-b", "key-of-operator", "s3", BACKFILL, "unknown", None)

SEES: dict[str, frozenset[str | None]] = {
    "key-of-a": frozenset(["key-of-a"]),
    "key-of-b": frozenset(["key-of-b"]),
    "new-key-of-b": frozenset(["key-of-b"]),
    "key-of-operator": frozenset(OWNERS),
    "key-of-nobody": frozenset(),
}

KINDS: list[tuple[Status, Animal | None]] = [
    (Status.UPLOADING, None),
    (Status.PROCESSING, None),
    (Status.COMPLETED, Animal.CAT),
    (Status.COMPLETED, Animal.DOG),
    (Status.NEEDS_REVIEW, Animal.OTHER),
    (Status.REJECTED, None),
    (Status.HELD, None),
    (Status.FAILED, Animal.CAT),
]

FILTERS: list[dict[str, str]] = [
    {},
    {"animal": "cat"},
    {"animal": "other"},
    {"status": "uploading"},
    {"status": "completed"},
    {"status": "failed"},
    {"animal": "cat", "status": "completed"},
    {"animal": "other", "status": "needs_review"},
    {"from": "2026-11-21T09:30:00.020Z", "to": "2026-11-21T09:30:00.040Z"},
]


@pytest.fixture
def images(aws: Cloud) -> dict[str, str | None]:
    """An image of every owner and kind -> its owner, by ImageID."""
    aws.know_key("key-of-b", Client="b", Owner="key-of-b", RevokeBy="2026-12-06T00:00:00.000Z")
    aws.know_key("new-key-of-b", Client="b", Owner="key-of-b")
    aws.know_key("key-of-operator", Client="boss", Owner="key-of-operator", SeesAll=True)
    aws.know_key("revoked-key-of-a", Client="a", Owner="key-of-a", RevokedAt="2026-11-28T00:00:00.000Z")
    found: dict[str, str | None] = {}
    for number, (owner, (status, animal)) in enumerate(itertools.product(OWNERS, KINDS)):
        image_id = f"{number % 16:x}{number:031x}"
        created = f"2026-11-21T09:30:00.{number:03}Z"
        more: dict[str, Any] = {"UploadedBy": owner} if owner else {}
        if animal:
            shard = image_ids.shard_of(image_id)
            more |= {"DetectedAnimal": animal.value, "AnimalShard": f"{animal.value}#{shard}", "AnalysisReused": True}
            more |= {"S3Location": f"s3://{BUCKET}/cats/{image_id}.jpg"}
        aws.write(
            image_id,
            ProcessingStatus=status.value,
            CreatedAt=created,
            UpdatedAt=created,
            ListedAt=f"{created}#{image_id}",
            ExpiresAt=4_000_000_000,
            **more,
        )
        found[image_id] = owner
    return found


def get(path: str, context: LambdaContext, key: str | None, **query: str) -> dict[str, Any]:
    handler = importlib.import_module("images_api.app").lambda_handler
    answer: dict[str, Any] = handler(request("GET", path, query=query or None, api_key_id=key), context)
    return answer


def post(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    answer: dict[str, Any] = importlib.import_module("upload_api.app").lambda_handler(event, context)
    return answer


def listed(context: LambdaContext, key: str, **query: str) -> list[dict[str, Any]]:
    """All pages of a listing."""
    found: list[dict[str, Any]] = []
    while True:
        body = body_of(get("/images", context, key, **query))
        found += body["images"]
        if body["nextToken"] is None:
            return found
        query["nextToken"] = body["nextToken"]


# --- One image --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", SEES)
def test_a_key_reads_what_its_owner_uploaded_and_an_operator_everything(
    context: LambdaContext, images: dict[str, str | None], key: str
) -> None:
    read = {image_id: get(f"/images/{image_id}", context, key) for image_id in images}
    assert {i for i, answer in read.items() if answer["statusCode"] == 200} == {
        image_id for image_id, owner in images.items() if owner in SEES[key]
    }


@pytest.mark.parametrize("key", [*SEES, None])
def test_somebody_elses_image_is_byte_for_byte_an_unknown_one(
    context: LambdaContext, images: dict[str, str | None], key: str | None
) -> None:
    unknown = get(f"/images/{'e' * 32}", context, key)
    assert refused(unknown) == (404, "IMAGE_NOT_FOUND")
    for image_id, owner in images.items():
        if owner not in SEES.get(key or "", {"unknown"}):
            assert get(f"/images/{image_id}", context, key) == unknown  # the request's id is the same in these events


def test_a_record_without_an_owner_is_for_operators_only() -> None:
    nobody: Record = {"ImageID": "0" * 32}
    assert not ApiClient("s3").may_see(nobody)
    assert not ApiClient("").may_see(nobody)
    assert ApiClient("key-of-operator", sees_all=True).may_see(nobody)


def test_only_operators_learn_that_the_same_bytes_came_before(
    context: LambdaContext, images: dict[str, str | None]
) -> None:
    (image_id,) = (i for i, owner in images.items() if owner == "key-of-a" and int(i[1:], 16) % len(KINDS) == 2)
    assert body_of(get(f"/images/{image_id}", context, "key-of-operator"))["analysisReused"] is True
    assert "analysisReused" not in body_of(get(f"/images/{image_id}", context, "key-of-a"))
    assert not any("analysisReused" in image for image in listed(context, "key-of-a"))
    assert any("analysisReused" in image for image in listed(context, "key-of-operator"))


@pytest.mark.parametrize("asks", ["key-of-a", "uploader", "reviewer", "key-of-operator"])
def test_only_who_sees_all_learns_that_a_person_has_decided(aws: Cloud, context: LambdaContext, asks: str) -> None:
    """A verdict goes to all images of the same bytes: it would tell that somebody else had sent them."""
    image_id = "a" * 32
    is_person = asks in ("uploader", "reviewer")
    aws.know_key("key-of-operator", Client="boss", Owner="key-of-operator", SeesAll=True)
    created = "2026-11-21T09:30:00.000Z"
    aws.write(
        image_id,
        ProcessingStatus="completed",
        DetectedAnimal="cat",
        S3Location=f"s3://{BUCKET}/cats/{image_id}.jpg",
        UploadedBy="person#ada" if is_person else "key-of-a",
        CreatedAt=created,
        UpdatedAt=created,
        ListedAt=f"{created}#{image_id}",
        VerdictSequence=1,
        ReviewedBy="bob",
        ReviewedAt="2026-11-22T09:30:00.000Z",
        MachineAnimal="other",
    )

    def ask(path: str) -> dict[str, Any]:
        who = {"groups": [asks], "sub": "ada"} if is_person else {"api_key_id": asks}
        handler = importlib.import_module("images_api.app").lambda_handler
        return body_of(handler(request("GET", ("/people" if is_person else "") + path, **who), context))

    one, (listed_one,) = ask(f"/images/{image_id}"), ask("/images")["images"]
    may_know = asks in ("reviewer", "key-of-operator")
    told = {"reviewed": True, "reviewedAt": "2026-11-22T09:30:00.000Z"} if may_know else {}
    for image in (one, listed_one):
        assert {name: value for name, value in image.items() if name.startswith("reviewed")} == told
        assert not image.keys() & {"VerdictSequence", "ReviewedBy", "MachineAnimal"}


@pytest.mark.parametrize(
    ("groups", "sub", "may_erase"),
    [
        (["uploader"], "ada", True),
        (["uploader", "reviewer"], "bob", False),
        (["reviewer"], "ada", False),
        (["operator"], "bob", True),
    ],
)
def test_a_person_learns_whether_they_may_erase(
    aws: Cloud, context: LambdaContext, groups: list[str], sub: str, may_erase: bool
) -> None:
    """As ErasureApi will judge it."""
    image_id = "a" * 32
    aws.write(image_id, ProcessingStatus="failed", UploadedBy="person#ada", CreatedAt="2026-11-21T09:30:00.000Z")
    handler = importlib.import_module("images_api.app").lambda_handler
    path = f"/people/images/{image_id}"
    assert body_of(handler(request("GET", path, groups=groups, sub=sub), context))["mayErase"] is may_erase


# --- Lists ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", FILTERS, ids=str)
@pytest.mark.parametrize("key", SEES)
def test_a_list_has_what_one_may_see_whatever_the_filter(
    context: LambdaContext, images: dict[str, str | None], key: str, query: dict[str, str]
) -> None:
    every = {image["imageId"] for image in listed(context, "key-of-operator", **query)}
    assert every
    for limit in ("3", "100"):
        found = [image["imageId"] for image in listed(context, key, limit=limit, **query)]
        assert len(found) == len(set(found))
        assert set(found) == {image_id for image_id in every if images[image_id] in SEES[key]}


@pytest.mark.parametrize("other", SEES)
@pytest.mark.parametrize("key", KEYS)
def test_a_token_goes_on_in_the_list_of_its_owner_only(
    context: LambdaContext, images: dict[str, str | None], key: str, other: str
) -> None:
    token = body_of(get("/images", context, key, limit="2"))["nextToken"]
    assert token is not None
    answer = get("/images", context, other, limit="2", nextToken=token)
    if SEES[key] == SEES[other]:
        assert {images[image["imageId"]] for image in body_of(answer)["images"]} <= SEES[other]
        assert len(body_of(answer)["images"]) == 2
    else:
        assert refused(answer) == (400, "INVALID_TOKEN")


# --- Uploads ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("data", [None, b"picture"])
def test_the_same_idempotency_key_is_another_image_for_another_owner_and_the_same_after_a_rotation(
    context: LambdaContext, data: bytes | None
) -> None:
    ids = {key: body_of(post(upload(data, idempotency_key="one", api_key_id=key), context))["imageId"] for key in KEYS}
    assert len(set(ids.values())) == 3
    assert ids["key-of-b"] == ids["new-key-of-b"]
    for key, image_id in ids.items():
        record = detection_logs.find(TABLE, image_id)
        assert record is not None
        owner = "key-of-b" if key == "new-key-of-b" else key
        assert (record["UploadedBy"], record["OwnerShard"]) == (owner, f"{owner}#{record['Shard']}")


@pytest.mark.usefixtures("images")
def test_what_a_rotated_key_uploads_is_its_owners(context: LambdaContext) -> None:
    image_id = body_of(post(upload(api_key_id="new-key-of-b"), context))["imageId"]
    for key in KEYS:
        assert get(f"/images/{image_id}", context, key)["statusCode"] == (404 if key == "key-of-a" else 200)


def test_an_id_that_is_somebody_elses_answers_nothing_about_it(
    aws: Cloud, context: LambdaContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No two owners get the same id; if a hash ever did, the answer would not tell."""
    monkeypatch.setattr("upload_api.app.image_id_for", lambda *_: "a" * 32)
    mine = post(upload(b"picture", api_key_id="key-of-a"), context)
    assert mine["statusCode"] == 202
    assert refused(post(upload(b"picture", api_key_id="key-of-b"), context)) == (409, "IDEMPOTENCY_KEY_REUSED")


@pytest.mark.usefixtures("images")
def test_a_revoked_key_can_do_nothing(aws: Cloud, context: LambdaContext, images: dict[str, str | None]) -> None:
    before = len(aws.records())
    for answer in (
        *(get(f"/images/{image_id}", context, "revoked-key-of-a") for image_id in images),
        get("/images", context, "revoked-key-of-a"),
        post(upload(api_key_id="revoked-key-of-a"), context),
        post(upload(b"picture", api_key_id="revoked-key-of-a"), context),
        post(request("POST", "/upload", body="{", api_key_id="revoked-key-of-a"), context),
    ):
        assert refused(answer) == (403, "INVALID_API_KEY")
    assert (len(aws.records()), aws.keys()) == (before, [])


@pytest.mark.parametrize("key", ["\ud800", "a\udfff"])
def test_an_idempotency_key_that_is_no_text_is_the_callers_fault(aws: Cloud, context: LambdaContext, key: str) -> None:
    assert refused(post(upload(idempotency_key=key), context)) == (400, "INVALID_IDEMPOTENCY_KEY")


@pytest.mark.parametrize(
    ("code", "expected"), [("ThrottlingException", (503, "BUSY")), ("InternalServerError", (503, "UNAVAILABLE"))]
)
def test_nobody_is_let_in_while_the_table_does_not_say_whose_key_it_is(
    aws: Cloud, context: LambdaContext, images: dict[str, str | None], code: str, expected: tuple[int, str]
) -> None:
    with refusal(client("dynamodb"), "GetItem", code):
        assert refused(get("/images", context, "key-of-operator")) == expected
        assert refused(post(upload(b"picture", api_key_id="key-of-a"), context)) == expected
    assert aws.keys() == []


def test_an_item_about_a_key_is_no_image(context: LambdaContext, images: dict[str, str | None]) -> None:
    for path in ("/images/key#key-of-b", "/images/key%23key-of-b"):
        assert refused(get(path, context, "key-of-operator"))[0] == 404
    assert len(listed(context, "key-of-operator")) == len(images)


# --- Who looked -------------------------------------------------------------------------------------------------------


def lines(logs: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in logs.getvalue().splitlines()]


@pytest.mark.parametrize("key", KEYS)
def test_every_read_leaves_one_line_with_image_key_and_whether_a_link_was_made(
    context: LambdaContext, logs: io.StringIO, images: dict[str, str | None], key: str
) -> None:
    linked = {}
    for image_id in [*images, "e" * 32, "no-id"]:
        answer = get(f"/images/{image_id}", context, key)
        linked[image_id] = "viewUrl" in answer["body"]
    found = lines(logs)
    assert len(found) == len(images) + 2
    assert {line["api_key_id"] for line in found} == {key}
    assert {line["correlation_id"] for line in found} == {REQUEST_ID}
    asked: list[str | None] = [*images, "e" * 32, None]
    for line, wanted in zip(found, asked, strict=True):
        assert line.get("image_id") == wanted
        if wanted in images and images[wanted] in SEES[key]:
            assert (line["message"], line["linked"]) == ("Image shown", linked[wanted])
        else:
            assert (line["message"], line["denied"]) == ("Image not shown", wanted in images)


@pytest.mark.parametrize("key", KEYS)
def test_every_list_leaves_one_line_with_key_count_and_filters_and_no_name_token_or_link(
    context: LambdaContext, logs: io.StringIO, images: dict[str, str | None], key: str
) -> None:
    body = body_of(get("/images", context, key, limit="3", animal="cat"))
    get("/images", context, key, limit="3", animal="cat", nextToken=body["nextToken"] or "")
    first, second = lines(logs)
    assert (first["message"], first["count"], first["filters"]) == (
        "Images listed",
        2 if key != KEYS[3] else 3,
        {"animal": "cat"},
    )
    assert first["api_key_id"] == second["api_key_id"] == key
    for secret in filter(None, (body["nextToken"], "X-Amz-Signature")):
        assert secret not in logs.getvalue()


# --- Ids of requests --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", ['x","evil":"1', "a\nb", "é", "0" * 5000])
def test_an_id_that_a_client_chose_stands_nowhere(
    aws: Cloud, context: LambdaContext, logs: io.StringIO, chosen: str
) -> None:
    event = upload(b"picture")
    event["requestContext"]["requestId"] = chosen
    event["headers"] |= {"x-amzn-RequestId": chosen}
    body = body_of(post(event, context))
    record = aws.item(body["imageId"])
    assert record["CorrelationId"] == {"S": REQUEST_ID}
    bad = request("POST", "/upload", body="{")
    bad["requestContext"]["requestId"] = chosen
    assert body_of(post(bad, context))["requestId"] == REQUEST_ID
    assert {line["correlation_id"] for line in lines(logs)} == {REQUEST_ID}
    assert json.dumps(chosen)[1:-1] not in logs.getvalue()


def test_without_an_id_of_the_gateway_lambdas_own_one_is_taken(aws: Cloud, context: LambdaContext) -> None:
    event = upload(b"picture")
    event["requestContext"]["extendedRequestId"] = None  # as `sam local start-api`
    assert aws.item(body_of(post(event, context))["imageId"])["CorrelationId"] == {"S": context.aws_request_id}


def test_no_browser_keeps_what_a_link_shows() -> None:
    link = image_bucket.view_link(BUCKET, f"cats/{'0' * 32}.jpg")
    assert "response-cache-control=private%2C%20no-store" in link


# --- Items about keys -------------------------------------------------------------------------------------------------


def test_a_revoked_key_is_never_registered_again(aws: Cloud) -> None:
    api_clients.mark(TABLE, "k", "web", "RevokedAt", "2026-11-28T00:00:00.000Z")
    with pytest.raises(ServiceError, match="ConditionalCheckFailed"):
        api_clients.register(TABLE, "k", "web", ApiClient("k", sees_all=True))
    with pytest.raises(RequestError):
        api_clients.of_key(TABLE, "k")


def test_the_first_time_of_a_revocation_stays(aws: Cloud) -> None:
    for time in ("2026-11-28T00:00:00.000Z", "2026-11-29T00:00:00.000Z"):
        api_clients.mark(TABLE, "k", "web", "RevokedAt", time)
    assert api_clients.known(TABLE, ["k"])["k"].revoked_at == "2026-11-28T00:00:00.000Z"
