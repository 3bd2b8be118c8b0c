"""Several people review at once, in threads against the local AWS's DynamoDB: nothing twice, nothing lost."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import boto3
import pytest

from pet_detector.aws import clients, detection_logs, review_workflow, reviews
from pet_detector.rules.errors import RequestError
from pet_detector.rules.models import Animal, Record
from pet_detector.rules.people import Group, Person
from pet_detector.rules.review import Mode
from pet_detector.use_cases import review_page, review_queue, verdicts
from pet_detector.use_cases.review_page import Wish
from pet_detector.use_cases.review_queue import Resources
from pet_detector.use_cases.verdicts import Verdict
from tests.support import local_aws
from tests.support.moto_world import create_table

RECORDS, REVIEWS = "detection-logs", "reviews"
RESOURCES = Resources(REVIEWS, RECORDS, "no machine: verdicts stay pending")
PEOPLE = [Person(name, name, frozenset([Group.REVIEWER])) for name in ("ada", "bob", "eve", "kim")]


@pytest.fixture(scope="module", autouse=True)
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A local AWS with two tables and nothing else."""
    with local_aws.running(tmp_path_factory.mktemp("engine")) as url, pytest.MonkeyPatch.context() as patch:
        settings = {"AWS_ENDPOINT_URL": url, "NO_PROXY": "*", "AWS_DEFAULT_REGION": local_aws.REGION}
        settings |= {"AWS_ACCESS_KEY_ID": local_aws.ACCOUNT, "AWS_SECRET_ACCESS_KEY": "test"}
        for name, value in settings.items():
            patch.setenv(name, value)
        patch.setattr(boto3, "DEFAULT_SESSION", None)
        patch.setattr(review_workflow, "start", lambda *_, **__: True)
        clients.forget()
        dynamodb = clients.client("dynamodb")
        create_table(dynamodb, RECORDS)
        create_table(dynamodb, REVIEWS, like="ReviewsTable")
        yield
    clients.forget()


def queued(first: int, number: int) -> list[str]:
    """Uncertain images that wait for review -> their ids."""
    ids = [f"{n:032x}" for n in range(first, first + number)]
    for image_id in ids:
        record: Record = {
            "ImageID": image_id,
            "ProcessingStatus": "needs_review",
            "DetectedAnimal": "other",
            "ContentHash": image_id * 2,
            "ConfidenceScore": Decimal(40),
            "Scores": {"cat": Decimal(60), "dog": Decimal(0)},
            "UpdatedAt": detection_logs.now(),
        }
        item = {name: detection_logs.serialized(value) for name, value in record.items()}
        clients.client("dynamodb").put_item(TableName=RECORDS, Item=item)
        assert review_queue.enqueue(RESOURCES, record) == "saved"
    return ids


def say(person: Person, image_id: str, key: str, mode: Mode = Mode.SINGLE) -> str:
    """Decide about an image that was shown before anybody had -> "saved", or the code of the refusal."""
    try:
        verdicts.save(RESOURCES, person, Verdict(image_id, key, Animal.DOG, mode, False, 5, sequence=0))
    except RequestError as error:
        return error.code
    return "saved"


def all_at_once(work: Callable[[Person], list[str]]) -> list[list[str]]:
    with ThreadPoolExecutor(len(PEOPLE)) as pool:
        return list(pool.map(work, PEOPLE))


def rows_of(ids: list[str]) -> Counter[int]:
    """How many images have how many rows."""
    return Counter(len(reviews.rows(REVIEWS, image_id)) for image_id in ids)


def test_four_people_empty_a_queue_and_see_each_picture_once() -> None:
    ids = queued(0, 40)

    def work(person: Person) -> list[str]:
        seen: list[str] = []
        while pictures := review_page.lease_next(REVIEWS, RECORDS, person, Wish(4))[0]:
            for picture in pictures:
                seen.append(picture.head["ImageID"])
                assert say(person, seen[-1], f"key-{person.id}-{seen[-1]}") == "saved"
        return seen

    seen = all_at_once(work)
    assert sorted(image_id for of_one in seen for image_id in of_one) == ids
    assert rows_of(ids) == {1: 40}


def test_of_four_who_decide_about_the_same_picture_at_once_one_wins() -> None:
    ids, gate = queued(100, 15), threading.Barrier(len(PEOPLE))

    def work(person: Person) -> list[str]:
        answers = []
        for image_id in ids:
            gate.wait(timeout=60)
            answers.append(say(person, image_id, f"key-{person.id}", Mode.GALLERY))
        return answers

    for of_one_image in zip(*all_at_once(work), strict=True):
        assert Counter(of_one_image) == {"saved": 1, "DECIDED_ALREADY": 3}
    assert rows_of(ids) == {1: 15}


def test_the_same_verdict_from_four_tabs_is_one() -> None:
    ids, gate = queued(200, 15), threading.Barrier(len(PEOPLE))

    def work(_: Person) -> list[str]:
        answers = []
        for image_id in ids:
            gate.wait(timeout=60)
            answers.append(say(PEOPLE[0], image_id, f"key-{image_id}"))
        return answers

    assert {answer for answers in all_at_once(work) for answer in answers} == {"saved"}
    assert rows_of(ids) == {1: 15}
