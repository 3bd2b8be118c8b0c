"""API Gateway: an API described the way SAM describes one is enforced the way AWS enforces it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from gzip import decompress
from typing import Any

import pytest

API_NAME = "pets"
KEY = "a-key-of-at-least-twenty-characters"
CORS = {"gatewayresponse.header.Access-Control-Allow-Origin": "'https://pets.example'"}
ERROR_BODY = '{"code":"$context.error.responseType","message":$context.error.messageString}'
BROKEN = "def handler(event, context):\n    raise RuntimeError"
ECHO = "import json\ndef handler(event, context):\n    return {'statusCode': 200, 'body': json.dumps(event)}"

# Bytes that are no text.
PICTURE = bytes(range(256)) * 8
PAINT = """import base64
def handler(event, context):
    body = base64.b64encode(bytes(range(256)) * 8).decode()
    encoded = {'Content-Encoding': 'identity'} if event['queryStringParameters'] else {}
    headers = {'Content-Type': 'image/png', **encoded}
    return {'statusCode': 200, 'headers': headers, 'body': body, 'isBase64Encoded': True}"""


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: Any


@dataclass
class Api:
    url: str
    key_id: str

    def call(
        self,
        verb: str,
        path: str,
        key: str | None = KEY,
        body: bytes | None = None,
        *,
        accept: str = "",
        gzip: bool = False,
    ) -> Answer:
        headers = {"Content-Type": "application/json", **({"x-api-key": key} if key else {})}
        headers |= {"Accept": accept} if accept else {}
        headers |= {"Accept-Encoding": "br, gzip;q=0.8"} if gzip else {}
        request = urllib.request.Request(self.url + path, data=body, headers=headers, method=verb)
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return Answer(response.status, dict(response.headers), response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, dict(error.headers), error.read())


def lambda_integration(function: str = "Echo") -> dict[str, Any]:
    uri = f"arn:aws:apigateway:${{AWS::Region}}:lambda:path/2015-03-31/functions/${{{function}.Arn}}/invocations"
    return {"type": "aws_proxy", "httpMethod": "POST", "uri": {"Fn::Sub": uri}}


def cors_mock() -> dict[str, Any]:
    return {
        "responses": {"200": {"description": "ok", "headers": {"Access-Control-Allow-Methods": {"type": "string"}}}},
        "x-amazon-apigateway-integration": {
            "type": "mock",
            "requestTemplates": {"application/json": '{"statusCode": 200}'},
            "responses": {
                "default": {
                    "statusCode": "200",
                    "responseParameters": {"method.response.header.Access-Control-Allow-Methods": "'POST'"},
                    "responseTemplates": {"application/json": "{}\n"},
                }
            },
        },
    }


def openapi() -> dict[str, Any]:
    secured = {"security": [{"api_key": []}], "x-amazon-apigateway-integration": lambda_integration()}
    responses = ("BAD_REQUEST_BODY", "INVALID_API_KEY", "REQUEST_TOO_LARGE", "THROTTLED", "DEFAULT_4XX", "DEFAULT_5XX")
    return {
        "swagger": "2.0",
        "info": {"title": API_NAME, "version": "1"},
        "paths": {
            "/upload": {
                "post": {
                    **secured,
                    "x-amazon-apigateway-request-validator": "body-only",
                    "parameters": [
                        {"in": "body", "name": "upload", "required": True, "schema": {"$ref": "#/definitions/upload"}}
                    ],
                },
                "options": cors_mock(),
            },
            "/images": {
                "get": {
                    **secured,
                    "x-amazon-apigateway-request-validator": "params-only",
                    "parameters": [{"in": "query", "name": "animal", "required": True, "type": "string"}],
                }
            },
            "/slow": {"get": secured},
            "/throttled": {"get": {"x-amazon-apigateway-integration": lambda_integration("Throttled")}},
            "/picture": {"get": {"x-amazon-apigateway-integration": lambda_integration("Paint")}},
            "/broken": {"get": {"x-amazon-apigateway-integration": lambda_integration("Broken")}},
        },
        "x-amazon-apigateway-binary-media-types": ["image/png"],
        "definitions": {
            "Upload": {"type": "object", "required": ["fileName"], "properties": {"fileName": {"type": "string"}}}
        },
        "x-amazon-apigateway-request-validators": {
            "body-only": {"validateRequestBody": True, "validateRequestParameters": False},
            "params-only": {"validateRequestBody": False, "validateRequestParameters": True},
        },
        "x-amazon-apigateway-gateway-responses": {
            kind: {"responseParameters": CORS, "responseTemplates": {"application/json": ERROR_BODY}}
            for kind in responses
        }
        | {"INTEGRATION_FAILURE": {"statusCode": 429, "responseTemplates": {"application/json": ERROR_BODY}}},
        "securityDefinitions": {"api_key": {"type": "apiKey", "name": "x-api-key", "in": "header"}},
    }


def permission(function: str) -> dict[str, Any]:
    source = {"Fn::Sub": "arn:aws:execute-api:${AWS::Region}:${AWS::AccountId}:${Api}/*"}
    properties = {"FunctionName": {"Ref": function}, "Action": "lambda:InvokeFunction", "SourceArn": source}
    return {
        "Type": "AWS::Lambda::Permission",
        "Properties": {**properties, "Principal": "apigateway.amazonaws.com"},
    }


def template() -> dict[str, Any]:
    code = {"ZipFile": ECHO}
    function = {"Runtime": "python3.13", "Handler": "index.handler", "Role": "arn:aws:iam::000000000000:role/r"}
    stage = {"ApiId": {"Ref": "Api"}, "Stage": {"Ref": "Stage"}}
    return {
        "Resources": {
            "Echo": {"Type": "AWS::Lambda::Function", "Properties": {**function, "Code": code}},
            "Throttled": {"Type": "AWS::Lambda::Function", "Properties": {**function, "Code": code}},
            "Broken": {"Type": "AWS::Lambda::Function", "Properties": {**function, "Code": {"ZipFile": BROKEN}}},
            "Paint": {"Type": "AWS::Lambda::Function", "Properties": {**function, "Code": {"ZipFile": PAINT}}},
            **{f"{name}Permission": permission(name) for name in ("Echo", "Throttled", "Broken", "Paint")},
            "Api": {
                "Type": "AWS::ApiGateway::RestApi",
                "Properties": {"Body": openapi(), "MinimumCompressionSize": 512},
            },
            "Deployment": {"Type": "AWS::ApiGateway::Deployment", "Properties": {"RestApiId": {"Ref": "Api"}}},
            "Stage": {
                "Type": "AWS::ApiGateway::Stage",
                "Properties": {
                    "RestApiId": {"Ref": "Api"},
                    "DeploymentId": {"Ref": "Deployment"},
                    "StageName": "local",
                    "MethodSettings": [
                        {
                            "ResourcePath": "/slow",
                            "HttpMethod": "GET",
                            "ThrottlingRateLimit": 0,
                            "ThrottlingBurstLimit": 0,
                        }
                    ],
                },
            },
            "Key": {"Type": "AWS::ApiGateway::ApiKey", "Properties": {"Enabled": True, "Value": KEY}},
            "Plan": {"Type": "AWS::ApiGateway::UsagePlan", "Properties": {"ApiStages": [stage]}},
            "PlanKey": {
                "Type": "AWS::ApiGateway::UsagePlanKey",
                "Properties": {"KeyId": {"Ref": "Key"}, "KeyType": "API_KEY", "UsagePlanId": {"Ref": "Plan"}},
            },
        },
        "Outputs": {
            "ApiId": {"Value": {"Ref": "Api"}},
            "KeyId": {"Value": {"Ref": "Key"}},
            "Throttled": {"Value": {"Ref": "Throttled"}},
        },
    }


@pytest.fixture(scope="module")
def deployed() -> dict[str, Api]:
    return {}


@pytest.fixture
def api(gap_engine: Any, deployed: dict[str, Api]) -> Api:
    """The API, deployed once on each engine."""
    if gap_engine.url not in deployed:
        outputs = gap_engine.create_stack(template())
        gap_engine.client("lambda").put_function_concurrency(
            FunctionName=outputs["Throttled"], ReservedConcurrentExecutions=0
        )
        url = f"{gap_engine.url}/_aws/execute-api/{outputs['ApiId']}/local"
        deployed[gap_engine.url] = Api(url, outputs["KeyId"])
    return deployed[gap_engine.url]


def test_refuses_a_call_without_a_key_with_the_templates_body_and_cors_header(api: Api) -> None:
    answer = api.call("GET", "/images?animal=cat", key=None)

    assert answer.status == 403
    assert json.loads(answer.body) == {"code": "INVALID_API_KEY", "message": "Forbidden"}
    assert answer.headers["Access-Control-Allow-Origin"] == "https://pets.example"


def test_refuses_a_wrong_key(api: Api) -> None:
    answer = api.call("GET", "/images?animal=cat", key="x" * 30)

    assert answer.status == 403
    assert answer.headers.get("Access-Control-Allow-Origin") == "https://pets.example"


def test_refuses_a_body_that_does_not_match_the_model(api: Api) -> None:
    answer = api.call("POST", "/upload", body=b'{"fileName": 7}')

    assert answer.status == 400
    assert json.loads(answer.body)["code"] == "BAD_REQUEST_BODY"
    assert answer.headers["Access-Control-Allow-Origin"] == "https://pets.example"


def test_refuses_a_call_without_a_required_parameter(api: Api) -> None:
    assert api.call("GET", "/images").status == 400


def test_answers_a_preflight_with_the_mocks_headers(api: Api) -> None:
    answer = api.call("OPTIONS", "/upload", key=None)

    assert answer.status == 200
    assert answer.headers.get("Access-Control-Allow-Methods") == "POST"


def test_refuses_a_body_over_ten_megabytes(api: Api) -> None:
    answer = api.call("POST", "/upload", body=json.dumps({"fileName": "x" * 10_500_000}).encode())

    assert answer.status == 413
    assert answer.headers["Access-Control-Allow-Origin"] == "https://pets.example"


def test_a_throttled_call_gets_the_templates_response(api: Api) -> None:
    answer = api.call("GET", "/slow")

    assert answer.status == 429
    assert "Access-Control-Allow-Origin" in answer.headers


def test_a_usage_plan_limits_each_of_its_keys(engine: Any) -> None:
    """No patch is needed: should a newer MiniStack lose it, this says so."""
    client = engine.client("apigateway")
    outputs = engine.create_stack(template())
    stage = {"apiId": outputs["ApiId"], "stage": "local"}
    limits: dict[str, dict[str, Any]] = {
        "THROTTLED": {"throttle": {"rateLimit": 0.0001, "burstLimit": 2}},
        "QUOTA_EXCEEDED": {"quota": {"limit": 2, "period": "DAY"}},
    }
    for code, limit in limits.items():
        key = client.create_api_key(name=code, enabled=True)
        plan = client.create_usage_plan(name=code, apiStages=[stage], **limit)
        client.create_usage_plan_key(usagePlanId=plan["id"], keyId=key["id"], keyType="API_KEY")
        limited = Api(f"{engine.url}/_aws/execute-api/{outputs['ApiId']}/local", key["id"])

        answers = [limited.call("GET", "/images?animal=cat", key=key["value"]) for _ in range(3)]

        assert [answer.status for answer in answers] == [200, 200, 429]
        assert json.loads(answers[-1].body)["code"] == code


def test_an_unknown_path_gets_the_templates_response(api: Api) -> None:
    answer = api.call("GET", "/nowhere")

    assert answer.status == 403
    assert "Access-Control-Allow-Origin" in answer.headers


def test_lambda_is_told_whose_key_it_was(api: Api) -> None:
    answer = api.call("POST", "/upload", body=b'{"fileName": "cat.jpg"}')

    assert answer.status == 200
    assert json.loads(answer.body)["requestContext"]["identity"].get("apiKeyId") == api.key_id


def test_a_call_for_which_lambda_has_no_environment_gets_the_templates_response(api: Api) -> None:
    answer = api.call("GET", "/throttled")

    assert answer.status == 429
    assert json.loads(answer.body).get("code") == "INTEGRATION_FAILURE"


def test_a_changed_document_keeps_the_api_with_its_key_and_its_address(gap_engine: Any) -> None:
    first = template()
    first["Resources"]["Key"]["Properties"]["Value"] = another = "another-key-of-20-letters"
    outputs = gap_engine.create_stack(first)
    api = Api(f"{gap_engine.url}/_aws/execute-api/{outputs['ApiId']}/local", outputs["KeyId"])
    changed = json.loads(json.dumps(first))
    paths = changed["Resources"]["Api"]["Properties"]["Body"]["paths"]
    paths["/another"] = {"get": paths.pop("/slow")["get"]}
    changed["Resources"]["Deployment2"] = changed["Resources"].pop("Deployment")
    changed["Resources"]["Stage"]["Properties"]["DeploymentId"] = {"Ref": "Deployment2"}

    gap_engine.update_stack(outputs["StackName"], changed)

    apis = [entry["id"] for entry in gap_engine.client("apigateway").get_rest_apis(limit=500)["items"]]
    assert outputs["ApiId"] in apis
    assert api.call("GET", "/another", another).status == 200
    assert json.loads(api.call("GET", "/slow", another).body)["code"] == "MISSING_AUTHENTICATION_TOKEN"


def test_a_call_whose_function_fails_gets_the_templates_response(api: Api) -> None:
    answer = api.call("GET", "/broken")

    assert answer.status == 502
    assert json.loads(answer.body).get("code") == "DEFAULT_5XX"
    assert answer.headers["Access-Control-Allow-Origin"] == "https://pets.example"


def test_requests_are_counted(api: Api, gap_engine: Any) -> None:
    """Count is one for each, of which 4XXError and 5XXError average to a share."""
    assert [api.call("GET", path).status for path in ("/images", "/broken", "/images?animal=cat")] == [400, 502, 200]

    def sums(metric: str, statistic: str = "Sum") -> float:
        now = datetime.now(UTC)
        points = gap_engine.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/ApiGateway",
            MetricName=metric,
            Dimensions=[{"Name": "ApiName", "Value": API_NAME}, {"Name": "Stage", "Value": "local"}],
            StartTime=now - timedelta(hours=1),
            EndTime=now + timedelta(minutes=1),
            Period=86400,
            Statistics=[statistic],
        )["Datapoints"]
        return float(sum(point[statistic] for point in points))

    assert sums("4XXError") >= 1
    assert sums("5XXError") >= 1
    assert sums("Count", "SampleCount") >= 3
    assert sums("Latency") > 0


def test_large_answers_are_compressed_for_who_accepts_it_and_pictures_stay_whole(api: Api) -> None:
    echo = api.call("GET", "/images?animal=cat", gzip=True)
    assert echo.headers.get("Content-Encoding") == "gzip"
    assert len(echo.body) < len(decompress(echo.body))
    assert json.loads(decompress(echo.body))["path"] == "/images"

    picture = api.call("GET", "/picture", accept="image/png", gzip=True)
    assert (picture.headers["Content-Encoding"], decompress(picture.body)) == ("gzip", PICTURE)

    small = api.call("GET", "/images?animal=cat", key=None, gzip=True)
    encoded = api.call("GET", "/picture?encoded=1", accept="image/png", gzip=True)
    for_nobody = api.call("GET", "/picture", accept="image/png")
    assert json.loads(small.body)["code"] == "INVALID_API_KEY"
    assert encoded.body == for_nobody.body == PICTURE
    assert [one.headers.get("Content-Encoding") for one in (small, encoded, for_nobody)] == [None, "identity", None]
