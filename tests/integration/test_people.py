"""People over HTTP: the page, the sign-in with a code and PKCE, and what each group may do with the ID token."""

from __future__ import annotations

import base64
import json
import re
import urllib.parse
from typing import Any

import pytest

from local.people import PASSWORD, PEOPLE
from tests.integration.application import Answer, HttpApplication
from tests.integration.pictures import new_cat
from tests.support.paths import REPOSITORY
from tests.support.people import sign_in

RELEASE = re.compile(rb"\?v=[0-9a-f]{16}")  # in names of files
MOST_BYTES = 60 * 1024  # of all files of the page, as API Gateway sends them
OTHER_POOL = {"UsernameAttributes": ["email"]}


@pytest.fixture(scope="module")
def tokens(application: HttpApplication) -> dict[str, dict[str, Any]]:
    """What the token endpoint gave one person of each group."""
    return {group: sign_in(application.outputs["PageUrl"], email, PASSWORD) for group, email in PEOPLE.items()}


def call(application: HttpApplication, verb: str, path: str, token: str | None, document: Any = None) -> Answer:
    """A request of the page: with an ID token, or none, and without an API key."""
    headers = {"Authorization": token} if token else {}
    return application.call(verb, path, document, key=None, headers=headers)


def upload(application: HttpApplication, token: str) -> Answer:
    image = base64.b64encode(new_cat()).decode()  # erasing it forgets what was seen on it
    document = {"fileName": "tom.jpg", "contentType": "image/jpeg", "image": image}
    return call(application, "POST", "/people/upload", token, document)


def test_an_id_token_opens_a_path_of_people_and_nothing_else_does(
    application: HttpApplication, tokens: dict[str, dict[str, Any]]
) -> None:
    token = tokens["uploader"]["id_token"]
    header, _, signature = token.split(".")
    promoted = base64.urlsafe_b64encode(json.dumps({"cognito:groups": ["operator"]}).encode()).decode().rstrip("=")

    assert call(application, "GET", "/people/images", token).status == 200
    for name, other in {
        "nothing": None,
        "no token": "abc",
        "a forged token": token[:-20] + "A" * 20,
        "changed claims": f"{header}.{promoted}.{signature}",
        "an access token": tokens["uploader"]["access_token"],
        "another pool's token": token_of_another_pool(application),
    }.items():
        answer = call(application, "GET", "/people/images", other)
        assert (answer.status, answer.json["code"]) == (401, "UNAUTHORIZED"), name
    assert application.call("GET", "/people/images").status == 401, "an API key"
    machine = call(application, "GET", "/images", token)
    assert (machine.status, machine.json["code"]) == (403, "INVALID_API_KEY")


def token_of_another_pool(application: HttpApplication) -> str:
    """An ID token that is right, of a pool that is not the application's."""
    cognito = application.engine.client("cognito-idp")
    pool = cognito.create_user_pool(PoolName="another", **OTHER_POOL)["UserPool"]["Id"]
    flows = ["ALLOW_ADMIN_USER_PASSWORD_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"]
    client = cognito.create_user_pool_client(UserPoolId=pool, ClientName="another", ExplicitAuthFlows=flows)
    client_id, email = client["UserPoolClient"]["ClientId"], PEOPLE["operator"]
    cognito.admin_create_user(UserPoolId=pool, Username=email, MessageAction="SUPPRESS")
    cognito.admin_set_user_password(UserPoolId=pool, Username=email, Password=PASSWORD, Permanent=True)
    signed_in = cognito.admin_initiate_auth(
        UserPoolId=pool,
        ClientId=client_id,
        AuthFlow="ADMIN_USER_PASSWORD_AUTH",
        AuthParameters={"USERNAME": email, "PASSWORD": PASSWORD},
    )
    cognito.delete_user_pool(UserPoolId=pool)
    return str(signed_in["AuthenticationResult"]["IdToken"])


def test_a_person_sends_sees_and_erases_a_picture_of_their_own(
    application: HttpApplication, tokens: dict[str, dict[str, Any]]
) -> None:
    uploader, reviewer = tokens["uploader"]["id_token"], tokens["reviewer"]["id_token"]
    sent = upload(application, uploader)
    assert sent.status == 202, sent
    path = f"/people/images/{sent.json['imageId']}"
    application.settled(sent.json["imageId"])

    for token in (uploader, reviewer):
        seen = call(application, "GET", path, token)
        assert (seen.status, seen.json["status"], seen.json["animal"]) == (200, "completed", "cat")
        assert seen.json["labels"][0].keys() == {"name", "confidence"}
        assert application.send("GET", seen.json["viewUrl"]).status == 200
    assert call(application, "DELETE", path, reviewer).json["code"] == "NOT_ALLOWED"
    assert upload(application, reviewer).json["code"] == "NOT_ALLOWED"
    assert call(application, "DELETE", path, uploader).status == 200
    assert call(application, "GET", path, reviewer).status == 404


def test_judging_takes_the_group_reviewer(application: HttpApplication, tokens: dict[str, dict[str, Any]]) -> None:
    refused = call(application, "GET", "/people/reviews", tokens["uploader"]["id_token"])
    assert (refused.status, refused.json["code"]) == (403, "NOT_ALLOWED")
    assert "reviewer" in refused.json["message"]
    assert call(application, "GET", "/people/reviews", tokens["reviewer"]["id_token"]).status == 200


def test_the_page_is_under_the_address_of_the_api(application: HttpApplication) -> None:
    page = application.outputs["PageUrl"]
    redirect = application.send("GET", page.rstrip("/"), allow_redirects=False)
    assert redirect.status == 302
    assert urllib.parse.urljoin(page.rstrip("/"), redirect.headers["Location"]) == page
    served = application.send("GET", page)
    assert (served.status, served.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    again = application.send("GET", page, {"If-None-Match": served.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")
    assert application.send("GET", f"{page}app.py").status == 404


def test_all_of_the_page_together_is_small(application: HttpApplication) -> None:
    """What a browser loads of all views, which accepts gzip as `requests` does."""
    files = [file for file in (REPOSITORY / "web").iterdir() if file.suffix in (".html", ".js", ".css", ".svg")]
    assert {"index.html", "app.js", "review.js", "style.css"} <= {file.name for file in files}
    answers = {file: application.send("GET", application.outputs["PageUrl"] + file.name) for file in files}
    assert all(RELEASE.sub(b"", answer.body) == file.read_bytes() for file, answer in answers.items())
    sent = sum(int(answer.headers["Content-Length"]) for answer in answers.values())
    written = sum(len(answer.body) for answer in answers.values())
    print(f"The page: {sent:,} bytes with gzip, {written:,} without.")
    assert sent <= MOST_BYTES
    assert sent < written / 2


def test_nobody_can_sign_up(application: HttpApplication) -> None:
    config = application.send("GET", f"{application.outputs['PageUrl']}config.json").json
    cognito = application.engine.client("cognito-idp")
    with pytest.raises(cognito.exceptions.ClientError, match="NotAuthorizedException"):
        cognito.sign_up(ClientId=config["clientId"], Username="eve@pets.example", Password=PASSWORD)
