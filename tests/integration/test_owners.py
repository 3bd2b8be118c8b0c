"""Two clients with a key each, over HTTP: neither learns of the other's image."""

from __future__ import annotations

import base64
import uuid
from dataclasses import dataclass

import pytest

from tests.integration.application import Answer, HttpApplication
from tests.support.deployment import CERTAIN_CAT


@dataclass(frozen=True)
class Client:
    """An API client with a key of the plan of clients, of which the table knows nothing."""

    application: HttpApplication
    key: str

    def call(self, verb: str, path: str, document: object = None, **headers: str) -> Answer:
        return self.application.call(verb, path, document, key=self.key, headers=headers)

    def upload(self, idempotency_key: str) -> str:
        image = base64.b64encode(CERTAIN_CAT.read_bytes()).decode()
        body = {"fileName": "tom.jpg", "contentType": "image/jpeg", "image": image}
        answer = self.call("POST", "/upload", body, **{"Idempotency-Key": idempotency_key})
        assert answer.status == 202, answer
        return str(answer.json["imageId"])

    def listed(self) -> list[str]:
        answer = self.call("GET", "/images?limit=100")
        assert answer.status == 200, answer
        return [image["imageId"] for image in answer.json["images"]]


@pytest.fixture
def clients(application: HttpApplication) -> tuple[Client, Client]:
    gateway = application.engine.client("apigateway")
    (plan,) = (plan["id"] for plan in gateway.get_usage_plans()["items"] if plan["name"].endswith("-clients"))
    values = []
    for _ in range(2):
        made = gateway.create_api_key(name=f"owners-{uuid.uuid4().hex}", enabled=True)
        gateway.create_usage_plan_key(usagePlanId=plan, keyId=made["id"], keyType="API_KEY")
        values.append(made["value"])
    first, second = values
    return Client(application, first), Client(application, second)


def test_a_client_sees_its_own_images_and_nobody_elses(
    application: HttpApplication, clients: tuple[Client, Client]
) -> None:
    mine, others = clients
    image_id = mine.upload("one")
    theirs = others.upload("one")
    assert application.finished_image(image_id)["status"] == "completed"  # the suite's key sees all
    application.settled(theirs)
    straight = uuid.uuid4().hex
    application.put_object(f"input/{straight}.jpg", CERTAIN_CAT.read_bytes())
    application.settled(straight)

    assert "viewUrl" in mine.call("GET", f"/images/{image_id}").json
    assert (mine.listed(), others.listed()) == ([image_id], [theirs])
    unknown = mine.call("GET", f"/images/{'e' * 32}")
    for foreign in (theirs, straight):
        answer = mine.call("GET", f"/images/{foreign}")
        assert (answer.status, answer.json | {"requestId": ""}) == (404, unknown.json | {"requestId": ""})
        assert answer.headers.keys() == unknown.headers.keys()


def test_a_client_cannot_choose_the_id_of_its_request(clients: tuple[Client, Client]) -> None:
    mine, _ = clients
    forged = {"x-amzn-RequestId": "forged", "x-amz-apigw-id": "forged"}
    for path in (f"/images/{'e' * 32}", "/nowhere"):
        found = mine.call("GET", path, **forged).json["requestId"]
        assert found
        assert "forged" not in found
        assert "$" not in found
