"""An earlier release, deployed, with thirty images in it: of every status, by every road, some of them not finished."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import requests

from local.engine import Engine
from tests.support.deployment import CERTAIN_CAT, CERTAIN_DOG, CERTAIN_OTHER, UNCERTAIN_CAT, Deployment, never_seen
from tests.support.waiting import eventually

NO_PICTURE = b"This is a text, whatever its name says."
LONG_AGO = "2026-01-01T00:00:00.000Z"  # a claim of then has expired


@dataclass
class Answer:
    """What the API answered."""

    status: int
    body: dict[str, Any]


def ask(url: str, key: str, verb: str, path: str, document: dict[str, Any] | None = None) -> Answer:
    """A call of the API, as a client makes it."""
    answer = requests.request(verb, url + path, headers={"x-api-key": key}, json=document, timeout=60)
    return Answer(answer.status_code, answer.json())


def post_form(form: dict[str, Any], data: bytes) -> int:
    """Send a picture with an upload form -> the status of S3's answer."""
    fields, files = form["fields"], {"file": ("picture", data)}
    return requests.post(form["url"], data=fields, files=files, timeout=60).status_code


class Release(Deployment):
    """The stack as some release has deployed it. The first ones had no versions, and no alias."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.url = self.outputs["ApiUrl"]

    def let_the_key_see_all(self) -> None:
        """The key is what the release made of it."""

    def configure(self, function: str, **variables: str) -> dict[str, str]:
        """Give a function these environment variables, and return what it had."""
        if self.live != self.workflow:
            return super().configure(function, **variables)
        client, name = self.functions_client, self.functions[function]
        before: dict[str, str] = client.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        client.update_function_configuration(FunctionName=name, Environment={"Variables": before | variables})
        client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 0.05})
        return before

    def invoke(self, function: str, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run a function as the schedule or a rule does: its answer, or what it says about its error."""
        target = self.functions[function] + (":live" if self.live != self.workflow else "")
        answer = self.functions_client.invoke(FunctionName=target, Payload=json.dumps(event or {}).encode())
        document: dict[str, Any] = json.loads(answer["Payload"].read())
        return document

    @contextlib.contextmanager
    def deaf(self) -> Iterator[None]:
        """No rule tells of uploads or failed executions; after the block those do that are still there."""
        recorder = self.function_arn("FailureRecorderFunction") + ("" if self.live == self.workflow else ":live")
        rules = [
            name
            for target in (self.live, recorder)
            for name in self.events.list_rule_names_by_target(TargetArn=target)["RuleNames"]
        ]
        assert len(rules) == 2
        for rule in rules:
            self.events.disable_rule(Name=rule)
        yield
        for rule in rules:
            with contextlib.suppress(self.events.exceptions.ResourceNotFoundException):
                self.events.enable_rule(Name=rule)

    def by_form(self, data: bytes, name: str = "holiday.jpg") -> str:
        """Upload by a form of the API -> the image's id."""
        ticket = self.ticket(name)
        assert post_form(ticket["upload"], data) == 204
        return str(ticket["imageId"])

    def ticket(self, name: str = "holiday.jpg") -> dict[str, Any]:
        """An id and a form for an image that is not yet sent."""
        document = {"fileName": name, "contentType": "image/jpeg"}
        answer = ask(self.url, self.api_key, "POST", "/upload", document)
        assert answer.status == 201, answer
        return answer.body

    def inline(self, data: bytes, name: str = "holiday.jpg") -> str:
        """Upload with the request itself -> the image's id."""
        image = base64.b64encode(data).decode()
        document = {"fileName": name, "contentType": "image/jpeg", "image": image}
        answer = ask(self.url, self.api_key, "POST", "/upload", document)
        assert answer.status == 202, answer
        return str(answer.body["imageId"])

    def by_s3(self, data: bytes, name: str = "holiday") -> str:
        """Put straight into the bucket, under a key of one's own -> the image's id."""
        key = f"input/{name} {uuid.uuid4().hex[:8]}.jpg"
        version = self.put_object(key, data)
        return hashlib.sha256(f"{key}@{version}".encode()).hexdigest()[:32]


@dataclass
class Images:
    """The thirty images, and what there was of them before the upgrade."""

    by_status: dict[str, list[str]] = field(default_factory=dict)
    of_clients: set[str] = field(default_factory=set)  # those that came by the API
    forms: dict[str, dict[str, Any]] = field(default_factory=dict)  # of those that are not yet sent
    running: list[str] = field(default_factory=list)  # those whose execution goes on
    lost_key: str = ""  # an object whose event was lost: it has no record
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    objects: set[tuple[str, str]] = field(default_factory=set)
    page_token: str = ""
    take_turns: bool = False  # whether the release's executions can wait for their turn to ask Rekognition

    @property
    def all(self) -> set[str]:
        """Every image that has a record."""
        return {image for images in self.by_status.values() for image in images}


def fill(stack: Release) -> Images:
    """Make images that have come to an end, or wait for a person or another day."""
    images, roads = Images(), (stack.by_form, stack.inline, stack.by_s3)

    def sent(status: str, *pictures: bytes) -> None:
        """Each picture by the next road, until it has this status."""
        made = []
        for number, data in enumerate(pictures):  # one after the other: equal bytes need not wait for each other
            image = roads[number % 3](data)
            eventually(lambda image=image: stack.status(image) == status, f"{image} is {status}")  # type: ignore[misc]
            made.append(image)
        images.by_status.setdefault(status, []).extend(made)
        images.of_clients |= {image for number, image in enumerate(made) if number % 3 < 2}

    cat, dog, other, unsure = (photo.read_bytes() for photo in (CERTAIN_CAT, CERTAIN_DOG, CERTAIN_OTHER, UNCERTAIN_CAT))
    sent("completed", cat, cat, cat, dog, dog, dog, other, other, other)
    sent("needs_review", unsure, unsure, unsure)
    sent("rejected", NO_PICTURE, NO_PICTURE, NO_PICTURE, cat[:2000])
    with stack.daily_limit_reached():
        sent("held", *(never_seen(CERTAIN_DOG) for _ in range(3)))
    with stack.broken_policy():
        sent("failed", cat, dog, other, unsure)
    return images


def leave_unfinished(stack: Release, images: Images) -> None:
    """Three that are announced and not sent, and four whose executions wait for a free environment of Lambda."""
    definition = stack.sfn.describe_state_machine(stateMachineArn=stack.workflow)["definition"]
    images.take_turns = "Wait for Turn" in definition
    for _ in range(3):
        ticket = stack.ticket()
        images.forms[ticket["imageId"]] = ticket["upload"]
    images.by_status["uploading"] = list(images.forms)
    stack.functions_client.put_function_concurrency(
        FunctionName=stack.functions["ImageProcessorFunction"], ReservedConcurrentExecutions=0
    )
    known, new = CERTAIN_CAT.read_bytes(), never_seen(CERTAIN_CAT)  # Rekognition must be asked about new bytes only
    for road, data in ((stack.by_form, known), (stack.by_s3, new), (stack.by_form, known), (stack.by_s3, known)):
        image = road(data)
        eventually(lambda image=image: "ExecutionArn" in stack.item(image), f"{image} is claimed")  # type: ignore[misc]
        images.running.append(image)
        images.of_clients |= {image} if road == stack.by_form else set()
    images.by_status["processing"] = [*images.running]
    images.of_clients |= set(images.forms)


def lose(stack: Release, images: Images) -> None:
    """End two executions, and upload a picture; no rule may tell anybody of it (`Release.deaf`)."""
    for _ in range(2):
        image = images.running.pop()
        stack.sfn.stop_execution(executionArn=stack.item(image)["ExecutionArn"]["S"])
        stack.change_record(image, ClaimedAt=LONG_AGO)
    images.lost_key = f"input/lost {uuid.uuid4().hex[:8]}.jpg"
    stack.put_object(images.lost_key, CERTAIN_CAT.read_bytes())


def let_run(stack: Release) -> None:
    """Lambda has free environments again."""
    stack.functions_client.delete_function_concurrency(FunctionName=stack.functions["ImageProcessorFunction"])


def note(stack: Release, images: Images) -> None:
    """Note what there is of the images, and what the release says of them."""
    images.records = {image: stack.item(image) for image in images.all}
    images.answers = {image: ask(stack.url, stack.api_key, "GET", f"/images/{image}").body for image in images.all}
    images.objects = set(stack.objects(delete_markers=True))
    images.page_token = ask(stack.url, stack.api_key, "GET", "/images?limit=2").body["nextToken"]
