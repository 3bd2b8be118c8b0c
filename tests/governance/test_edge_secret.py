"""The rotation of the edge's header, as it is written in stacks/edge.yaml, against moto: no request is ever refused.

CloudFront is asked after each call of AWS what it sends, and the rule group what it accepts.
"""

from __future__ import annotations

import ast
import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
from botocore.exceptions import WaiterError
from moto import mock_aws

from tests.governance.waf import Request, matches
from tests.support.definitions import words
from tests.support.stacks import Stack

from .test_edge import FILE, GIVEN, HEADER

STACK = Stack(FILE, GIVEN)
FUNCTION = STACK.of_type("AWS::Lambda::Function")["RotationFunction"]
CODE = FUNCTION["Code"]["ZipFile"]
STEPS = ("createSecret", "setSecret", "testSecret", "finishSecret")
ORIGIN = {
    "Id": "Api",
    "DomainName": "abc123.execute-api.us-east-1.amazonaws.com",
    "OriginPath": "/prod",
    "CustomOriginConfig": {"HTTPPort": 80, "HTTPSPort": 443, "OriginProtocolPolicy": "https-only"},
}


@dataclass
class World:
    """Secret, rule group and distribution as CloudFormation makes them, and the function over them."""

    secret: str
    group: dict[str, str]
    distribution: str
    handler: Callable[[dict[str, str], None], None]
    calls: list[str] = field(default_factory=list)
    keeper: Any = None
    waf: Any = None
    cloudfront: Any = None

    @property
    def current(self) -> str:
        """The value that holds, by Secrets Manager."""
        return str(self.keeper.get_secret_value(SecretId=self.secret, VersionStage="AWSCURRENT")["SecretString"])

    @property
    def sent(self) -> str:
        """What CloudFront adds, or will add as soon as it is deployed."""
        config = self.cloudfront.get_distribution_config(Id=self.distribution)["DistributionConfig"]
        (origin,) = config["Origins"]["Items"]
        (header,) = origin["CustomHeaders"]["Items"]
        assert header["HeaderName"] == HEADER
        return str(header["HeaderValue"])

    def accepts(self, value: str) -> bool:
        """Whether a request with this value is let in."""
        (rule,) = self.waf.get_rule_group(**self.group)["RuleGroup"]["Rules"]
        assert (rule["Action"], rule["Name"]) == ({"Block": {}}, "WithoutTheHeader")
        return not matches(_as_text(rule["Statement"]), Request("/", {HEADER: value}), set())

    def begin(self) -> str:
        """A version that Secrets Manager asks for."""
        return str(uuid.uuid4())

    def step(self, name: str, version: str) -> None:
        self.handler({"Step": name, "SecretId": self.secret, "ClientRequestToken": version}, None)


def _as_text(value: Any) -> Any:
    """A statement as templates have it: moto gives the bytes back that it got."""
    if isinstance(value, dict):
        return {key: _as_text(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_as_text(child) for child in value]
    return value.decode() if isinstance(value, bytes) else value


def _rules(value: str) -> list[dict[str, Any]]:
    """The template's rule with the secret's value where the reference stands."""
    (rule,) = json.loads(json.dumps(STACK.of_type("AWS::WAFv2::RuleGroup")["CameByTheEdge"]["Rules"]))
    rule["Statement"]["NotStatement"]["Statement"]["ByteMatchStatement"]["SearchString"] = value.encode()
    return [rule]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with mock_aws():
        keeper = boto3.client("secretsmanager", region_name="us-east-1")
        waf: Any = boto3.client("wafv2", region_name="us-east-1")  # their request shapes are those of the template
        cloudfront: Any = boto3.client("cloudfront", region_name="us-east-1")
        secret = keeper.create_secret(Name="header", SecretString="first")["ARN"]
        visible = STACK.of_type("AWS::WAFv2::RuleGroup")["CameByTheEdge"]["VisibilityConfig"]
        made = waf.create_rule_group(
            Name="came-by", Scope="REGIONAL", Capacity=20, Rules=_rules("first"), VisibilityConfig=visible
        )
        group = {"Name": "came-by", "Scope": "REGIONAL", "Id": made["Summary"]["Id"]}
        header = {"Quantity": 1, "Items": [{"HeaderName": HEADER, "HeaderValue": "first"}]}
        behavior = {"TargetOriginId": "Api", "ViewerProtocolPolicy": "https-only", "CachePolicyId": "policy"}
        distribution = cloudfront.create_distribution(
            DistributionConfig={
                "CallerReference": "edge",
                "Comment": "edge",
                "Enabled": True,
                "Origins": {"Quantity": 1, "Items": [ORIGIN | {"CustomHeaders": header}]},
                "DefaultCacheBehavior": behavior,
            }
        )["Distribution"]["Id"]
        environment = {"DISTRIBUTION_ID": distribution, "RULE_GROUP_ID": group["Id"], "RULE_GROUP_NAME": "came-by"}
        assert environment.keys() | {"WAF_SECONDS"} == FUNCTION["Environment"]["Variables"].keys()
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        for name, value in (environment | {"WAF_SECONDS": "0"}).items():
            monkeypatch.setenv(name, value)
        namespace: dict[str, Any] = {"__name__": "index"}
        exec(compile(CODE, "index.py", "exec"), namespace)
        found = World(secret, group, distribution, namespace["lambda_handler"])
        found.keeper, found.waf, found.cloudfront = keeper, waf, cloudfront
        for name in ("keeper", "waf", "cloudfront"):
            namespace[name].meta.events.register("before-call", lambda model, **_: found.calls.append(model.name))
        yield found


def test_a_rotation_changes_the_value_and_refuses_the_old_one(world: World) -> None:
    version = world.begin()
    for name in STEPS:
        world.step(name, version)
    assert world.sent == world.current != "first"
    assert len(world.current) == 64
    assert world.accepts(world.current)
    assert not world.accepts("first")
    assert not world.accepts("")


def test_what_is_sent_is_accepted_at_every_moment(world: World) -> None:
    """Before the new value is sent from everywhere, both are sent, from one place or another."""
    version, seen = world.begin(), {"first"}
    for name in STEPS:
        world.step(name, version)
        seen.add(world.sent)
        if name != "finishSecret":
            assert all(world.accepts(value) for value in seen), name
    order = [name for name in world.calls if name in ("UpdateRuleGroup", "UpdateDistribution", "GetDistribution")]
    assert order[:2] == ["UpdateRuleGroup", "UpdateDistribution"], "accepted first, then sent"
    assert order[-1] == "UpdateRuleGroup", "the old one is refused last"
    assert "GetDistribution" in order[2:-1], "when the new one is sent from everywhere"


@pytest.mark.parametrize("failing", STEPS)
def test_a_rotation_that_failed_is_tried_again_from_the_start(world: World, failing: str) -> None:
    version = world.begin()
    for name in STEPS[: STEPS.index(failing) + 1]:
        world.step(name, version)
    sent = world.sent
    for name in STEPS:
        world.step(name, version)
        assert world.accepts(world.sent)
    if failing != "createSecret":
        assert world.sent == sent, "the value that CloudFront sends already is kept"
    assert world.sent == world.current != "first"


def test_two_rotations_leave_one_value(world: World) -> None:
    for _ in range(2):
        before, version = world.current, world.begin()
        for name in STEPS:
            world.step(name, version)
        assert world.current != before
        assert not world.accepts(before)
    (rule,) = world.waf.get_rule_group(**world.group)["RuleGroup"]["Rules"]
    assert _as_text(rule) == _as_text(_rules(world.current)[0]), "as the template has it, but for the value"


def test_a_distribution_that_takes_too_long_fails_the_step_and_the_old_value_stays(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = world.begin()
    world.step("createSecret", version)
    world.step("setSecret", version)

    def never(*_: Any, **__: Any) -> None:
        raise WaiterError("DistributionDeployed", "Max attempts exceeded", {})

    monkeypatch.setattr("botocore.waiter.Waiter.wait", never)
    with pytest.raises(WaiterError):
        world.step("testSecret", version)
    assert world.current == "first"
    assert world.accepts("first")
    assert world.accepts(world.sent)


def test_a_deployment_during_a_rotation_shuts_nobody_out(world: World) -> None:
    """It sends the value that holds for CloudFormation: the old one is not refused before the new one is sent again."""
    version = world.begin()
    for name in STEPS[:3]:
        world.step(name, version)
    found = world.cloudfront.get_distribution_config(Id=world.distribution)
    (origin,) = found["DistributionConfig"]["Origins"]["Items"]
    origin["CustomHeaders"]["Items"][0]["HeaderValue"] = world.current
    world.cloudfront.update_distribution(
        Id=world.distribution, IfMatch=found["ETag"], DistributionConfig=found["DistributionConfig"]
    )
    with pytest.raises(RuntimeError, match="sends another value"):
        world.step("finishSecret", version)
    assert world.sent == world.current == "first"
    assert world.accepts("first")
    for name in STEPS:  # Secrets Manager tries again
        world.step(name, version)
        assert world.accepts(world.sent), name
    assert world.sent == world.current != "first"
    assert not world.accepts("first")


def test_wait_ends_before_the_function_does() -> None:
    waits = [node for node in ast.walk(ast.parse(CODE)) if isinstance(node, ast.keyword) and node.arg == "WaiterConfig"]
    (given,) = (ast.literal_eval(node.value) for node in waits)
    assert given["Delay"] * given["MaxAttempts"] + 60 <= FUNCTION["Timeout"]
    assert int(FUNCTION["Environment"]["Variables"]["WAF_SECONDS"]) + 60 <= FUNCTION["Timeout"]


ACTIONS = {
    "DescribeSecret": "secretsmanager",
    "GetSecretValue": "secretsmanager",
    "PutSecretValue": "secretsmanager",
    "UpdateSecretVersionStage": "secretsmanager",
    "GetRuleGroup": "wafv2",
    "UpdateRuleGroup": "wafv2",
    "GetDistribution": "cloudfront",
    "GetDistributionConfig": "cloudfront",
    "UpdateDistribution": "cloudfront",
}


def test_function_may_do_just_what_it_calls(world: World) -> None:
    version = world.begin()
    for name in STEPS:
        world.step(name, version)
    role = STACK.of_type("AWS::IAM::Role")["RotationRole"]
    statements = [statement for policy in role["Policies"] for statement in policy["PolicyDocument"]["Statement"]]
    allowed = {action for statement in statements for action in words(statement["Action"])}
    logs = {"logs:CreateLogStream", "logs:PutLogEvents"}
    # CloudFront asks in the function's name whether it may read the web ACL that the distribution has.
    # https://github.com/hashicorp/terraform/issues/17544: "Web ACL is not accessible by the requester"
    assert allowed - logs == {f"{ACTIONS[name]}:{name}" for name in world.calls} | {"wafv2:GetWebACL"}
    assert not [statement for statement in statements if "*" in str(statement["Resource"]).removesuffix(":*")]


def test_secrets_manager_alone_calls_the_function_and_only_for_this_secret() -> None:
    (permission,) = STACK.of_type("AWS::Lambda::Permission").values()
    assert permission["Principal"] == "secretsmanager.amazonaws.com"
    assert permission["SourceArn"] == "HeaderSecret"
    (rotation,) = STACK.of_type("AWS::SecretsManager::RotationSchedule").values()
    assert rotation["SecretId"] == "HeaderSecret"
    assert rotation["RotationRules"] == {"ScheduleExpression": "rate(30 days)"}
    assert rotation["RotateImmediatelyOnUpdate"] is False, "CloudFormation has just made both ends equal"
