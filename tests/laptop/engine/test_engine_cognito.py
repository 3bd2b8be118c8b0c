"""Cognito: people sign in with a code and PKCE, and an API takes their ID tokens and nobody else's."""

from __future__ import annotations

import base64
import hashlib
import json
import urllib.parse
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
import requests

PASSWORD = "Made-up-password-1"
VERIFIER = "v" * 43
ECHO = "import json\ndef handler(event, context):\n    return {'statusCode': 200, 'body': json.dumps(event)}"
SIGN_IN_PAGE = {"Fn::Sub": "https://${Domain}.auth.${AWS::Region}.amazoncognito.com"}


@dataclass
class People:
    """A deployed API for people of one pool."""

    engine: Any
    outputs: dict[str, str]

    @property
    def api(self) -> str:
        return f"{self.engine.url}/_aws/execute-api/{self.outputs['Api']}/local"

    @property
    def page_here(self) -> str:
        return f"{self.api}/app/"

    @property
    def page_on_aws(self) -> str:
        return f"https://{self.outputs['Api']}.execute-api.us-east-1.amazonaws.com/local/app/"

    def add(self, name: str, *groups: str) -> str:
        """A person with the password PASSWORD; returns the e-mail address."""
        email, pool = f"{name}@pets.example", self.outputs["Pool"]
        cognito = self.engine.client("cognito-idp")
        attributes = [{"Name": "email", "Value": email}, {"Name": "email_verified", "Value": "true"}]
        cognito.admin_create_user(UserPoolId=pool, Username=email, UserAttributes=attributes, MessageAction="SUPPRESS")
        cognito.admin_set_user_password(UserPoolId=pool, Username=email, Password=PASSWORD, Permanent=True)
        for group in groups:
            cognito.admin_add_user_to_group(UserPoolId=pool, Username=email, GroupName=group)
        return email

    def authorize(self, page: str, **changes: str) -> requests.Response:
        """What the hosted sign-in page says to a browser that the page sends there."""
        return requests.get(
            f"{self.engine.url}/oauth2/authorize", self._question(page) | changes, allow_redirects=False, timeout=10
        )

    def submit(self, page: str, email: str, password: str = PASSWORD) -> requests.Response:
        """The answer to its form."""
        form = self._question(page) | {"username": email, "password": password}
        return requests.post(f"{self.engine.url}/login", form, allow_redirects=False, timeout=10)

    def code(self, page: str, email: str) -> str:
        """Sign in; the code with which the browser comes back."""
        answer = self.submit(page, email)
        assert answer.status_code == 302, answer.text
        back = urllib.parse.urlsplit(answer.headers["Location"])
        assert back._replace(query="").geturl() == page
        returned = urllib.parse.parse_qs(back.query)
        assert returned["state"] == ["a state"]
        return returned["code"][0]

    def exchange(self, page: str, code: str, verifier: str = VERIFIER) -> requests.Response:
        return self._token(grant_type="authorization_code", code=code, redirect_uri=page, code_verifier=verifier)

    def refresh(self, token: str) -> requests.Response:
        return self._token(grant_type="refresh_token", refresh_token=token)

    def revoke(self, token: str) -> requests.Response:
        form = {"client_id": self.outputs["Client"], "token": token}
        return requests.post(f"{self.engine.url}/oauth2/revoke", form, timeout=10)

    def call(self, path: str, token: str | None = None) -> requests.Response:
        return requests.get(self.api + path, headers={"Authorization": token} if token else {}, timeout=10)

    def _question(self, page: str) -> dict[str, str]:
        challenge = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
        return {
            "response_type": "code",
            "client_id": self.outputs["Client"],
            "redirect_uri": page,
            "scope": "openid email",
            "state": "a state",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }

    def _token(self, **form: str) -> requests.Response:
        form = {"client_id": self.outputs["Client"], **form}
        return requests.post(f"{self.engine.url}/oauth2/token", form, timeout=10)


def template() -> dict[str, Any]:
    """A pool, its client and groups, and an API as SAM describes one, with a method for people and an open one."""
    uri = "arn:aws:apigateway:${AWS::Region}:lambda:path/2015-03-31/functions/${Echo.Arn}/invocations"
    integration = {"type": "aws_proxy", "httpMethod": "POST", "uri": {"Fn::Sub": uri}}
    page = {"Fn::Sub": "https://${Api}.execute-api.${AWS::Region}.amazonaws.com/local/app/"}
    client = {
        "UserPoolId": {"Ref": "Pool"},
        "AllowedOAuthFlows": ["code"],
        "AllowedOAuthFlowsUserPoolClient": True,
        "AllowedOAuthScopes": ["openid", "email"],
        "ExplicitAuthFlows": ["ALLOW_REFRESH_TOKEN_AUTH"],
        "CallbackURLs": [page],
        "LogoutURLs": [page],
    }
    body = {
        "swagger": "2.0",
        "info": {"title": "pets", "version": "1"},
        "paths": {
            "/people": {"get": {"security": [{"People": []}], "x-amazon-apigateway-integration": integration}},
            "/app": {"get": {"x-amazon-apigateway-integration": integration}},
        },
        "securityDefinitions": {
            "People": {
                "type": "apiKey",
                "name": "Authorization",
                "in": "header",
                "x-amazon-apigateway-authtype": "cognito_user_pools",
                "x-amazon-apigateway-authorizer": {
                    "type": "cognito_user_pools",
                    "providerARNs": [{"Fn::GetAtt": ["Pool", "Arn"]}],
                },
            }
        },
    }
    pool = {"AdminCreateUserConfig": {"AllowAdminCreateUserOnly": True}, "UsernameAttributes": ["email"]}
    groups = {
        name.capitalize(): {
            "Type": "AWS::Cognito::UserPoolGroup",
            "Properties": {"UserPoolId": {"Ref": "Pool"}, "GroupName": name},
        }
        for name in ("uploader", "reviewer")
    }
    permission = {
        "FunctionName": {"Ref": "Echo"},
        "Action": "lambda:InvokeFunction",
        "Principal": "apigateway.amazonaws.com",
        "SourceArn": {"Fn::Sub": "arn:aws:execute-api:${AWS::Region}:${AWS::AccountId}:${Api}/*"},
    }
    function = {
        "Runtime": "python3.13",
        "Handler": "index.handler",
        "Role": "arn:aws:iam::000000000000:role/test",
        "Code": {"ZipFile": ECHO},
    }
    stage = {
        "RestApiId": {"Ref": "Api"},
        "DeploymentId": {"Ref": "Deployment"},
        "StageName": "local",
        "Variables": {"SignInUrl": SIGN_IN_PAGE, "ClientId": {"Ref": "Client"}},
    }
    domain = {"UserPoolId": {"Ref": "Pool"}, "Domain": {"Fn::Sub": "${AWS::StackName}-${AWS::AccountId}"}}
    return {
        "Resources": {
            "Pool": {"Type": "AWS::Cognito::UserPool", "Properties": pool},
            "Domain": {"Type": "AWS::Cognito::UserPoolDomain", "Properties": domain},
            "Client": {"Type": "AWS::Cognito::UserPoolClient", "Properties": client},
            **groups,
            "Echo": {"Type": "AWS::Lambda::Function", "Properties": function},
            "Permission": {"Type": "AWS::Lambda::Permission", "Properties": permission},
            "Api": {"Type": "AWS::ApiGateway::RestApi", "Properties": {"Body": body}},
            "Deployment": {"Type": "AWS::ApiGateway::Deployment", "Properties": {"RestApiId": {"Ref": "Api"}}},
            "Stage": {"Type": "AWS::ApiGateway::Stage", "Properties": stage},
        },
        "Outputs": {name: {"Value": {"Ref": name}} for name in ("Api", "Pool", "Client", "Domain")},
    }


def deployed(engine: Any) -> People:
    return People(engine, engine.create_stack(template()))


@pytest.fixture(scope="module")
def people(engine: Any) -> People:
    return deployed(engine)


def claims_of(token: str) -> dict[str, Any]:
    body = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return claims


def test_a_code_becomes_a_signed_id_token_with_the_groups(people: People) -> None:
    email = people.add("both", "uploader", "reviewer")
    assert "<form" in people.authorize(people.page_here).text
    code = people.code(people.page_here, email)

    tokens = people.exchange(people.page_here, code)

    claims = claims_of(tokens.json()["id_token"])
    assert claims["aud"] == people.outputs["Client"]
    assert claims["email"] == email
    assert sorted(claims["cognito:groups"]) == ["reviewer", "uploader"]
    assert people.exchange(people.page_here, code).status_code == 400, "a code works once"


def test_a_code_needs_its_verifier_and_its_page(people: People) -> None:
    email = people.add("verifier")
    code = people.code(people.page_here, email)

    assert people.exchange(people.page_here, code, "w" * 43).json()["error"] == "invalid_grant"
    assert people.exchange(people.page_on_aws, code).json()["error"] == "invalid_grant"
    assert people.exchange(people.page_here, code).status_code == 200


def test_nobody_signs_in_with_a_wrong_password_or_for_another_page(people: People) -> None:
    email = people.add("careless")

    wrong = people.submit(people.page_here, email, "not the password")

    assert (wrong.status_code, "Incorrect username or password" in wrong.text) == (200, True)
    for page in (
        "https://evil.example/app/",
        people.page_here.replace("127.0.0.1", "evil.example"),
        people.page_here + "deeper",
        people.page_here.replace("/local/", "/other/"),
    ):
        assert people.authorize(page).status_code == 400, page
        assert people.submit(page, email).status_code == 400, page


def test_an_api_takes_the_id_tokens_of_its_pool_and_nothing_else(people: People, engine: Any) -> None:
    email = people.add("person", "reviewer")
    tokens = people.exchange(people.page_here, people.code(people.page_here, email)).json()
    other = deployed(engine)
    other_email = other.add("person", "reviewer")
    foreign = other.exchange(other.page_here, other.code(other.page_here, other_email)).json()["id_token"]
    header, _, signature = tokens["id_token"].split(".")
    claims = claims_of(tokens["id_token"]) | {"cognito:groups": ["operator"]}
    promoted = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()

    answer = people.call("/people", tokens["id_token"])

    received = answer.json()["requestContext"]["authorizer"]["claims"]
    assert (received["email"], received["cognito:groups"]) == (email, "[reviewer]")
    refused = {"none": None, "garbage": "abc", "another pool's": foreign, "changed": f"{header}.{promoted}.{signature}"}
    for name, token in refused.items():
        assert people.call("/people", token).status_code == 401, name
    with_a_key = requests.get(f"{people.api}/people", headers={"x-api-key": "any"}, timeout=10)
    assert with_a_key.status_code == 401


def test_a_changed_client_keeps_its_people(engine: Any) -> None:
    changed = template()
    people = deployed(engine)
    people.add("stays", "uploader")
    client = changed["Resources"]["Client"]["Properties"]
    client["CallbackURLs"] = client["LogoutURLs"] = ["https://pets.example/app/"]
    changed["Resources"]["Operator"] = {
        "Type": "AWS::Cognito::UserPoolGroup",
        "Properties": {"UserPoolId": {"Ref": "Pool"}, "GroupName": "operator"},
    }

    engine.update_stack(people.outputs["StackName"], changed)

    assert engine.stack_outputs(people.outputs["StackName"]) == people.outputs
    cognito, pool = engine.client("cognito-idp"), people.outputs["Pool"]
    described = cognito.describe_user_pool_client(UserPoolId=pool, ClientId=people.outputs["Client"])["UserPoolClient"]
    assert described["CallbackURLs"] == ["https://pets.example/app/"]
    assert [user["Enabled"] for user in cognito.list_users(UserPoolId=pool)["Users"]] == [True]
    assert len(cognito.list_groups(UserPoolId=pool)["Groups"]) == 3
    assert people.authorize(people.page_here).status_code == 400


def test_a_deleted_stack_leaves_no_pool(engine: Any) -> None:
    people = deployed(engine)

    engine.client("cloudformation").delete_stack(StackName=people.outputs["StackName"])

    assert engine.refusal(engine.client("cognito-idp").describe_user_pool, UserPoolId=people.outputs["Pool"])
    assert people.authorize(people.page_here).status_code == 400


# --- Patches ----------------------------------------------------------------------------------------------------------


def test_a_refreshed_token_has_the_groups_of_now(gap_engine: Any) -> None:
    people = deployed(gap_engine)
    email = people.add("promoted", "uploader")
    tokens = people.exchange(people.page_on_aws, people.code(people.page_on_aws, email)).json()
    gap_engine.client("cognito-idp").admin_add_user_to_group(
        UserPoolId=people.outputs["Pool"], Username=email, GroupName="reviewer"
    )

    refreshed = people.refresh(tokens["refresh_token"]).json()

    assert sorted(claims_of(refreshed["id_token"]).get("cognito:groups", [])) == ["reviewer", "uploader"]


def test_an_access_token_is_no_id_token(gap_engine: Any) -> None:
    people = deployed(gap_engine)
    email = people.add("person")
    tokens = people.exchange(people.page_on_aws, people.code(people.page_on_aws, email)).json()

    assert people.call("/people", tokens["access_token"]).status_code == 401
    assert people.call("/people", tokens["id_token"]).status_code == 200


def test_a_client_of_an_api_on_aws_returns_to_the_api_here(gap_engine: Any) -> None:
    people = deployed(gap_engine)

    assert people.authorize(people.page_here).status_code == 200
    assert people.authorize(people.page_on_aws).status_code == 200


def test_a_stage_variable_names_the_sign_in_page_here(gap_engine: Any) -> None:
    people = deployed(gap_engine)

    variables = people.call("/app").json()["stageVariables"]

    assert variables == {"SignInUrl": gap_engine.url, "ClientId": people.outputs["Client"]}


def test_nobody_signs_up_where_people_are_invited(gap_engine: Any) -> None:
    people = deployed(gap_engine)
    sign_up = gap_engine.client("cognito-idp").sign_up
    eve = {"ClientId": people.outputs["Client"], "Username": "eve@pets.example", "Password": PASSWORD}

    assert gap_engine.refusal(sign_up, **eve) == "NotAuthorizedException"


def test_who_signs_out_renews_no_token(gap_engine: Any) -> None:
    people = deployed(gap_engine)
    email = people.add("leaver")
    tokens = people.exchange(people.page_on_aws, people.code(people.page_on_aws, email)).json()
    assert people.refresh(tokens["refresh_token"]).status_code == 200

    assert people.revoke(tokens["refresh_token"]).status_code == 200

    assert people.refresh(tokens["refresh_token"]).status_code == 400


def test_a_right_may_ask_for_the_tags_of_a_pool(gap_engine: Any) -> None:
    iam, cognito = gap_engine.client("iam"), gap_engine.client("cognito-idp")
    tagged = cognito.create_user_pool(PoolName="tagged", UserPoolTags={"Project": "pets"})["UserPool"]["Id"]
    other = cognito.create_user_pool(PoolName="other")["UserPool"]["Id"]
    iam.create_user(UserName="looker")
    asked = {"StringEquals": {"aws:ResourceTag/Project": "pets"}}
    statement = {"Effect": "Allow", "Action": "cognito-idp:DescribeUserPool", "Resource": "*", "Condition": asked}
    document = json.dumps({"Version": "2012-10-17", "Statement": statement})
    iam.put_user_policy(UserName="looker", PolicyName="look", PolicyDocument=document)
    key = iam.create_access_key(UserName="looker")["AccessKey"]
    session = boto3.session.Session(key["AccessKeyId"], key["SecretAccessKey"], region_name="us-east-1")
    looker = session.client("cognito-idp", endpoint_url=gap_engine.url)

    assert not gap_engine.refusal(looker.describe_user_pool, UserPoolId=tagged)
    assert gap_engine.refusal(looker.describe_user_pool, UserPoolId=other) == "AccessDeniedException"
