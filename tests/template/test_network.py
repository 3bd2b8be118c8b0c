"""stacks/network.yaml: the functions reach what they call, nothing else is reached, and nobody reaches them.

The local AWS keeps a network's resources and does not route by them. So what the code calls is compared with the
endpoints, and what it calls with what with their policies; the tests evaluate them as IAM does.
"""

from __future__ import annotations

import copy
import ipaddress
import json
import re
from typing import Any

import botocore.session
import pytest

from tests.support.arns import ACCOUNT, REGION, Arns
from tests.support.definitions import decided, references, resources, source, translate, translated, words
from tests.support.iam import permits
from tests.support.paths import REPOSITORY
from tests.support.source_calls import reached, sources
from tests.support.stacks import APPLICATION, Stack

from .test_hops import FUNCTIONS
from .test_least_privilege import rights_of

FILE = REPOSITORY / "stacks" / "network.yaml"
SOURCE_OF_BACKFILLS = "archive"
NETWORK = Stack(FILE, {"ApplicationName": APPLICATION, "BackfillBucket": SOURCE_OF_BACKFILLS})
THREE_ZONES = Stack(FILE, {"ApplicationName": APPLICATION, "ThirdZone": "us-east-1c"})
ENDPOINTS = {
    endpoint["ServiceName"].removeprefix(f"com.amazonaws.{REGION}."): endpoint
    for endpoint in NETWORK.of_type("AWS::EC2::VPCEndpoint").values()
}

# --- Every service that is called has an endpoint ---------------------------------------------------------------------


def hosts(service: str) -> str:
    """What a service is called in the addresses that boto3 calls, which is also its name among endpoints."""
    return str(botocore.session.get_session().get_service_model(service).endpoint_prefix)


def called(of: dict[str, str]) -> dict[str, set[str]]:
    """Service, by the name of its endpoint -> the functions whose source can come to a call of it."""
    found: dict[str, set[str]] = {}
    for function, properties in FUNCTIONS.items():
        for service, _ in reached(properties["Handler"].rpartition(".")[0], of):
            found.setdefault(hosts(service), set()).add(function)
    return found


def unreachable(of: dict[str, str], endpoints: set[str]) -> dict[str, set[str]]:
    """Of `called` what has no endpoint: in the network each such call would wait until it times out."""
    return {service: functions for service, functions in called(of).items() if service not in endpoints}


def test_every_service_that_a_function_calls_has_an_endpoint() -> None:
    assert unreachable(sources(), set(ENDPOINTS)) == {}, "stacks/network.yaml lacks an endpoint for these functions"


def test_no_endpoint_is_paid_for_that_no_function_needs() -> None:
    assert ENDPOINTS.keys() - called(sources()).keys() == set()


@pytest.mark.parametrize("service", ENDPOINTS)
def test_a_missing_endpoint_is_noticed(service: str) -> None:
    assert unreachable(sources(), ENDPOINTS.keys() - {service}).keys() == {service}


SECRET = """
from pet_detector.aws.clients import client

def secret():
    return client("secretsmanager").get_secret_value(SecretId="key")
"""


def test_a_new_call_of_a_service_without_an_endpoint_is_noticed() -> None:
    """In a handler, and in a module that three functions share, however deep."""
    one = sources()
    one["figures_api.app"] += SECRET
    assert unreachable(one, set(ENDPOINTS)) == {"secretsmanager": {"FiguresApiFunction"}}
    shared, module = sources(), "pet_detector.aws.notices_topic"
    assert 'client("sns").publish(' in shared[module]
    shared[module] = shared[module].replace('client("sns").publish(', 'client("logs").put_log_events(')
    senders = called(sources())["sns"]
    assert len(senders) >= 3
    assert unreachable(shared, set(ENDPOINTS)) == {"logs": senders}


# --- Policies of endpoints --------------------------------------------------------------------------------------------

NAMES = {name: f"{APPLICATION}-{name}-1A2B3C4D5E6F" for name in resources("AWS::DynamoDB::Table", "AWS::SQS::Queue")}
NAMES |= {
    "BackfillBucket": SOURCE_OF_BACKFILLS,
    "DetectionPolicyParameter": f"{APPLICATION}-detection-policy",
    "ImageBucket": f"{APPLICATION}-imagebucket-1a2b3c4d5e6f",
    "NoticesTopic": f"{APPLICATION}-NoticesTopic-1A2B3C4D5E6F",
    # CloudFormation's names of state machines do not begin with the stack's.
    "ImageWorkflow": "ImageWorkflow-1A2B3C4D5E6F",
    "ReviewWorkflow": "ReviewWorkflow-1A2B3C4D5E6F",
}
OURS = {
    "aws__PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role/serverlessapp-pet-detec-UploadApiFunctionRole-1A2B3C4D5E6F",
    "aws__ResourceAccount": ACCOUNT,
}
# IAM's prefix of actions, where an endpoint has another name.
PREFIXES = {"cloudwatch": "monitoring"}
NEEDED = {
    (function, action, str(Arns(names=NAMES).resolve({"Fn::Sub": resource.partition(" if ")[0]})))
    for function in FUNCTIONS
    for action, resource in rights_of(function)
}


def policy(service: str) -> list[dict[str, Any]]:
    """The statements of an endpoint's policy."""
    found: list[dict[str, Any]] = ENDPOINTS[service]["PolicyDocument"]["Statement"]
    return found


def passes(action: str, resource: str, **context: str) -> bool:
    """Whether the policy of the service's endpoint lets a call through."""
    prefix = action.partition(":")[0]
    return permits(policy(PREFIXES.get(prefix, prefix)), action, resource, **(OURS | context))


def test_endpoints_let_through_what_the_functions_do() -> None:
    """By their recorded calls, which are also what their roles may do."""
    assert len(NEEDED) > 60
    refused = {(function, action, arn) for function, action, arn in NEEDED if not passes(action, arn)}
    assert not refused, "a policy of an endpoint in stacks/network.yaml lacks this"


def test_endpoints_let_through_no_action_that_no_function_does() -> None:
    allowed = {action for service in ENDPOINTS for s in policy(service) for action in words(s["Action"])}
    assert allowed == {action for _, action, _ in NEEDED}


@pytest.mark.parametrize("service", ENDPOINTS)
def test_endpoint_is_for_roles_of_this_application_alone(service: str) -> None:
    for statement in policy(service):
        assert (statement["Effect"], statement["Principal"]) == ("Allow", "*")  # who else, the condition says
        action, arn = words(statement["Action"])[0], words(statement["Resource"])[0]
        assert passes(action, arn)
        for other in (
            f"arn:aws:iam::{ACCOUNT}:role/another-application",
            "arn:aws:iam::999999999999:role/serverlessapp-pet-detector-test-Role",
            f"arn:aws:iam::{ACCOUNT}:user/serverlessapp-pet-detector-test",
        ):
            assert not passes(action, arn, aws__PrincipalArn=other), f"{statement['Sid']}: {other}"


@pytest.mark.parametrize(
    ("action", "resource", "context"),
    [
        ("s3:PutObject", "arn:aws:s3:::elsewhere/stolen.jpg", {}),
        ("s3:PutObject", f"arn:aws:s3:::{NAMES['ImageBucket']}/x", {"aws__ResourceAccount": "999999999999"}),
        ("s3:PutObject", f"arn:aws:s3:::{SOURCE_OF_BACKFILLS}/x", {}),
        ("s3:GetObject", f"arn:aws:s3:::{SOURCE_OF_BACKFILLS}-of-somebody/x", {}),
        ("s3:DeleteObject", f"arn:aws:s3:::{NAMES['ImageBucket']}/cats/x", {}),
        ("dynamodb:PutItem", f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/another", {}),
        ("dynamodb:PutItem", f"arn:aws:dynamodb:{REGION}:999999999999:table/{NAMES['DetectionLogsTable']}", {}),
        ("dynamodb:Scan", f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{NAMES['DetectionLogsTable']}", {}),
        ("sns:Publish", f"arn:aws:sns:{REGION}:{ACCOUNT}:another", {}),
        ("sns:Publish", f"arn:aws:sns:{REGION}:{ACCOUNT}:{APPLICATION}-AlarmsTopic-1", {}),
        ("sqs:ReceiveMessage", f"arn:aws:sqs:{REGION}:{ACCOUNT}:another", {}),
        ("ssm:GetParameter", f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/password", {}),
        ("states:StartExecution", f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:Payments", {}),
        ("rekognition:CreateCollection", "*", {}),
        ("cloudwatch:PutMetricData", "*", {}),
    ],
)
def test_nothing_else_leaves_through_an_endpoint(action: str, resource: str, context: dict[str, str]) -> None:
    assert not passes(action, resource, **context)


# --- The network ------------------------------------------------------------------------------------------------------

GROUPS = "AWS::EC2::SecurityGroup"
HTTPS = ("tcp", 443, 443)


def test_no_way_leads_out_of_the_network_or_into_it() -> None:
    """The gateway endpoints add the only routes."""
    kinds = {resource["Type"] for resource in THREE_ZONES.resources.values()}
    assert {kind for kind in kinds if kind.startswith("AWS::EC2::")} == {
        *("AWS::EC2::VPC", "AWS::EC2::Subnet", "AWS::EC2::RouteTable", "AWS::EC2::SubnetRouteTableAssociation"),
        *("AWS::EC2::VPCEndpoint", GROUPS, "AWS::EC2::SecurityGroupEgress", "AWS::EC2::FlowLog"),
    }
    for subnet in THREE_ZONES.of_type("AWS::EC2::Subnet").values():
        assert subnet["MapPublicIpOnLaunch"] is False


def test_security_groups_have_no_open_door() -> None:
    """Each rule of each group, written out: HTTPS from the functions to the endpoints, and nothing to the functions."""

    def rule(found: dict[str, Any]) -> tuple[Any, ...]:
        peers = {key: value for key, value in found.items() if re.search("Cidr|PrefixList|SecurityGroupId", key)}
        (peer,) = peers.items()
        return (found["IpProtocol"], found["FromPort"], found["ToPort"]), *peer

    groups = NETWORK.of_type(GROUPS)
    rules = {
        name: {
            (kind, *rule(found)) for kind in ("Ingress", "Egress") for found in group.get(f"SecurityGroup{kind}", [])
        }
        for name, group in groups.items()
    }
    (more,) = NETWORK.of_type("AWS::EC2::SecurityGroupEgress").values()
    ids = {name: NETWORK.resolve({"Fn::GetAtt": [name, "GroupId"]}) for name in groups}
    assert more["GroupId"] == ids["FunctionsGroup"]
    rules["FunctionsGroup"].add(("Egress", *rule(more)))
    assert rules == {
        "FunctionsGroup": {
            ("Egress", HTTPS, "DestinationPrefixListId", NETWORK.values["S3PrefixList"]),
            ("Egress", HTTPS, "DestinationPrefixListId", NETWORK.values["DynamoDbPrefixList"]),
            ("Egress", HTTPS, "DestinationSecurityGroupId", ids["EndpointsGroup"]),
        },
        "EndpointsGroup": {
            ("Ingress", HTTPS, "SourceSecurityGroupId", ids["FunctionsGroup"]),
            # A group without a rule for what goes out gets one from AWS that lets out everything.
            ("Egress", HTTPS, "CidrIp", "127.0.0.1/32"),
        },
    }
    assert not re.search(r"0\.0\.0\.0/0|::/0", json.dumps(NETWORK.resources))


def test_each_endpoint_is_in_every_zone_and_found_by_the_usual_name() -> None:
    for stack, subnets in ((NETWORK, ["FirstSubnet", "SecondSubnet"]), (THREE_ZONES, None)):
        wanted = subnets or ["FirstSubnet", "SecondSubnet", "ThirdSubnet"]
        assert sorted(stack.of_type("AWS::EC2::Subnet")) == wanted
        routed = stack.of_type("AWS::EC2::SubnetRouteTableAssociation").values()
        assert {(found["SubnetId"], found["RouteTableId"]) for found in routed} == {(n, "RouteTable") for n in wanted}
        for name, endpoint in stack.of_type("AWS::EC2::VPCEndpoint").items():
            if endpoint["VpcEndpointType"] == "Gateway":
                assert endpoint["RouteTableIds"] == ["RouteTable"], name
            else:
                assert endpoint["SubnetIds"] == wanted, name
                assert endpoint["PrivateDnsEnabled"] is True, name
                assert endpoint["SecurityGroupIds"] == [stack.resolve({"Fn::GetAtt": ["EndpointsGroup", "GroupId"]})]
    (network,) = NETWORK.of_type("AWS::EC2::VPC").values()
    assert (network["EnableDnsSupport"], network["EnableDnsHostnames"]) == (True, True)
    gateways = {name for name, endpoint in ENDPOINTS.items() if endpoint["VpcEndpointType"] == "Gateway"}
    assert gateways == {"s3", "dynamodb"}  # which cost nothing


def test_subnets_share_the_range_in_three_zones() -> None:
    found = THREE_ZONES.of_type("AWS::EC2::Subnet").values()
    ranges = [ipaddress.ip_network(subnet["CidrBlock"]) for subnet in found]
    whole = ipaddress.ip_network(THREE_ZONES.of_type("AWS::EC2::VPC")["Network"]["CidrBlock"])
    assert len({subnet["AvailabilityZone"] for subnet in found}) == 3
    assert all(part.subnet_of(whole) for part in ranges)  # type: ignore[arg-type]
    assert not any(one.overlaps(other) for one in ranges for other in ranges if one is not other)


def test_flows_are_logged_to_a_group_that_forgets() -> None:
    (flows,) = NETWORK.of_type("AWS::EC2::FlowLog").values()
    (group,) = NETWORK.of_type("AWS::Logs::LogGroup").values()
    assert (flows["ResourceType"], flows["ResourceId"], flows["TrafficType"]) == ("VPC", "Network", "ALL")
    assert flows["LogDestination"] == NETWORK.resolve({"Fn::GetAtt": ["FlowLogGroup", "Arn"]})
    assert group["RetentionInDays"] == NETWORK.values["FlowLogRetentionDays"]
    (role,) = NETWORK.of_type("AWS::IAM::Role").values()
    (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "vpc-flow-logs.amazonaws.com"}
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT}}


# --- The functions in it ----------------------------------------------------------------------------------------------


def test_every_function_is_in_the_network_when_there_is_one_and_in_none_by_default() -> None:
    for name, function in FUNCTIONS.items():
        assert decided(function, "InNetwork", True)["VpcConfig"] == {
            "SubnetIds": {"Fn::Split": [",", {"Ref": "NetworkSubnets"}]},
            "SecurityGroupIds": [{"Ref": "NetworkSecurityGroup"}],
        }, name
        assert "VpcConfig" not in decided(function, "InNetwork", False), name
    declared = source()["Parameters"]
    assert (declared["NetworkSubnets"]["Default"], declared["NetworkSecurityGroup"]["Default"]) == ("", "")


def test_without_a_network_the_application_is_what_it_would_be_without_the_option() -> None:
    """The same resources with the same properties; but for what SAM gives the roles of functions, and what takes it."""
    without = source()
    del without["Globals"]["Function"]["VpcConfig"]
    before = translate(without)["Resources"]
    off = decided(copy.deepcopy(translated()["Resources"]), "InNetwork", False)
    versions = re.compile(r"(Version|Deployment|deployment id: )[0-9a-f]{10,40}")  # named after what is written

    def told(resources_: dict[str, Any]) -> Any:
        return json.loads(versions.sub(r"\1", json.dumps(resources_)))

    old, new = told(before), told(off)
    assert old.keys() == new.keys()
    changed = {name for name in old if old[name] != new[name]}
    assert changed == {name for function in FUNCTIONS.values() for name in references(function["Role"])}
    for name in changed:
        given = new[name]["Properties"]["ManagedPolicyArns"].pop()
        assert given == "arn:aws:iam::aws:policy/service-role/AWSLambdaVPCAccessExecutionRole"
        assert old[name] == new[name], name


def test_outputs_of_the_network_are_what_the_application_takes() -> None:
    parameters = source()["Parameters"]
    for name in ("NetworkSubnets", "NetworkSecurityGroup"):
        assert name in NETWORK.template["Outputs"]
        assert "AllowedPattern" in parameters[name]
    pattern = parameters["NetworkSubnets"]["AllowedPattern"]
    for stack in (NETWORK, THREE_ZONES):
        value = stack.resolve(stack.template["Outputs"]["NetworkSubnets"]["Value"])
        subnets = [f"subnet-0{number}a" for number, _ in enumerate(value.split(","))]
        assert len(subnets) == len(stack.of_type("AWS::EC2::Subnet"))
        assert re.search(pattern, ",".join(subnets))
    assert not re.search(pattern, "subnet-0a")  # one zone is none
    assert re.search(parameters["NetworkSecurityGroup"]["AllowedPattern"], "sg-0a1b")
