"""The settings that people rely on, as CloudFormation gets them: what is on, how long and how often, which numbers.

Where a setting follows from another one, or from the code, the rule says so; the rest stands here as it is documented.
"""

from __future__ import annotations

import json
import re
from typing import Any
from unittest import mock

import pytest

from ops import definitions as parameters
from ops.backfill import MOST_BATCHES
from pet_detector.rules.notices import DIGEST_MINUTES
from pet_detector.rules.policy import DEFAULT_EVIDENCE, LOWEST_FLOOR, Policy
from tests.support.definitions import machines, references, resources, source, translate
from tests.support.moto_world import POLICY
from tests.support.paths import REPOSITORY
from tests.support.stacks import observability

from .test_hops import HOPS

FUNCTIONS = resources("AWS::Lambda::Function")
PARAMETERS: dict[str, dict[str, Any]] = source()["Parameters"]
API = resources("AWS::ApiGateway::RestApi")["PetDetectorApi"]["Body"]
ORIGIN = {"Ref": "AllowedOrigin"}
QUOTED_ORIGIN = {"Fn::Sub": "'${AllowedOrigin}'"}
each_function = pytest.mark.parametrize("function", FUNCTIONS)

# --- What is on -------------------------------------------------------------------------------------------------------


def test_rules_schedule_and_stream_are_on() -> None:
    for kind in ("AWS::Events::Rule", "AWS::Scheduler::Schedule"):
        assert {properties.get("State", "ENABLED") for properties in resources(kind).values()} == {"ENABLED"}
    for stream in resources("AWS::Lambda::EventSourceMapping").values():
        assert stream.get("Enabled", True) is True


def test_executions_are_exactly_once_visible_and_their_failures_logged() -> None:
    """EXPRESS would run an upload twice, sends no status events, and has no history for `explain` and redrives."""
    for name, machine in resources("AWS::StepFunctions::StateMachine").items():
        assert machine["StateMachineType"] == "STANDARD", name
        assert machine["LoggingConfiguration"]["Level"] == "ERROR", name


def test_batches_of_a_backfill_may_wait_longer_than_an_express_execution_runs() -> None:
    (machine,) = (machine for machine in machines() if machine.name == "BackfillWorkflow")
    (each,) = (state for _, state in machine.states() if state["Type"] == "Map")
    assert each["ItemProcessor"]["ProcessorConfig"] == {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
    assert 0 < each["ToleratedFailurePercentage"] < 100
    assert each["MaxConcurrency"] == "{% $states.input.concurrency %}"
    assert MOST_BATCHES * each["ItemBatcher"]["MaxItemsPerBatch"] <= 1000  # how far it may overshoot


def test_functions_log_what_the_saved_queries_count() -> None:
    """`rejected by reason` and `one image's story` read lines of the level INFO."""
    assert {function["Environment"]["Variables"]["POWERTOOLS_LOG_LEVEL"] for function in FUNCTIONS.values()} == {"INFO"}


def test_the_access_log_says_who_asked_for_what_and_how_it_went() -> None:
    (stage,) = resources("AWS::ApiGateway::Stage").values()
    logged = json.loads(stage["AccessLogSetting"]["Format"])
    assert {
        "requestId",
        "time",
        "method",
        "path",
        "status",
        "latency",
        "apiKeyId",
        "personId",
        "error",
    } == logged.keys()
    assert all(value.startswith("$context.") for value in logged.values())
    # Not $context.requestId, which a client can choose; no address of a person ($context.identity.sourceIp).
    assert logged["requestId"] == "$context.extendedRequestId"
    assert logged["apiKeyId"] == "$context.identity.apiKeyId"
    assert logged["personId"] == "$context.authorizer.claims.sub"  # an id, not an e-mail address


# --- How long, and how often ------------------------------------------------------------------------------------------


def schedule_minutes() -> int:
    """Minutes between two runs of the Reconciler."""
    expression = resources("AWS::Scheduler::Schedule")["ReconcileSchedule"]["ScheduleExpression"]
    found = re.fullmatch(r"rate\((\d+) minutes\)", expression)
    assert found
    return int(found[1])


def test_a_lost_upload_is_taken_up_within_half_an_hour() -> None:
    """docs/operations.md: what is older than half an hour under input/ is worth a look."""
    assert schedule_minutes() + PARAMETERS["OverdueMinutes"]["Default"] <= 30


def test_runs_of_the_reconciler_have_time_and_never_overlap() -> None:
    """It lists all that waits: minutes after a long outage."""
    assert 300 <= FUNCTIONS["ReconcilerFunction"]["Timeout"] < schedule_minutes() * 60


def test_a_silent_reconciler_is_noticed_after_four_missed_runs() -> None:
    alarm = observability().resources["ReconcilerSilentAlarm"]["Properties"]
    (period,) = [metric["MetricStat"]["Period"] for metric in alarm["Metrics"] if "MetricStat" in metric]
    assert (period, alarm["EvaluationPeriods"]) == (schedule_minutes() * 60, 4)


def test_the_digest_comes_as_soon_as_the_notices_say() -> None:
    assert schedule_minutes() == DIGEST_MINUTES


def test_functions_of_the_api_answer_before_the_gateway_gives_up() -> None:
    assert (
        max(FUNCTIONS[name]["Timeout"] for name in ("UploadApiFunction", "ImagesApiFunction", "ErasureApiFunction"))
        < 29
    )


def test_events_that_start_or_record_an_execution_are_delivered_for_a_day() -> None:
    """EventBridge's most; a count of duplicates is worth an hour."""
    retries = {
        references(target["Arn"]).pop(): target["RetryPolicy"]
        for rule in resources("AWS::Events::Rule").values()
        for target in rule["Targets"]
    }
    day = {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 185}
    assert retries == {
        "ImageWorkflow": day,
        "FailureRecorderFunction": day,
        "MetricsPublisherFunction": {"MaximumEventAgeInSeconds": 3600, "MaximumRetryAttempts": 10},
    }


def test_what_concerns_images_is_kept_apart_from_reports() -> None:
    """A dead letter of the first queue pages a person, one of the second can wait."""
    queues = {(hop.sender, *sorted(hop.receiver)): references(hop.queue).pop() for hop in HOPS}
    assert {hop for hop, queue in queues.items() if queue == "ImageEventsDeadLetterQueue"} == {
        ("ImageUploadedRule", "ImageWorkflow"),
        ("FailureRecorderFunctionExecutionFailed", "FailureRecorderFunction"),
        ("Lambda", "FailureRecorderFunction"),
    }
    assert set(queues.values()) == {"ImageEventsDeadLetterQueue", "ReportsDeadLetterQueue"}


def test_lambda_repeats_events_but_those_that_the_schedule_repeats() -> None:
    attempts = {
        config["FunctionName"]["Ref"]: config["MaximumRetryAttempts"]
        for config in resources("AWS::Lambda::EventInvokeConfig").values()
    }
    assert attempts == {
        "FailureRecorderFunction": 2,
        "MetricsPublisherFunction": 2,
        "ReconcilerFunction": 0,
        "ReviewKeeperFunction": 0,
    }


def test_no_change_is_skipped_when_measuring_begins_or_fails() -> None:
    """One record that cannot be measured costs itself, not the hundred beside it."""
    for stream in resources("AWS::Lambda::EventSourceMapping").values():
        assert stream["StartingPosition"] == "TRIM_HORIZON"
        assert stream["BisectBatchOnFunctionError"] is True


def test_a_picture_of_15_mb_fits_into_memory() -> None:
    """Measured: about 200 MB with the largest picture, and Lambda's processor grows with the memory."""
    for name in ("ImageProcessorFunction", "FileManagerFunction"):
        assert FUNCTIONS[name]["MemorySize"] >= 2 * 200


# --- The numbers of the decision --------------------------------------------------------------------------------------


NUMBERS = {"MinimumConfidence": "minimum", "ConfidenceMargin": "margin", "ConfidenceFloor": "floor"}


def policy_text(**numbers: float) -> str:
    """What a deployment with these parameters writes."""
    parameter = resources("AWS::SSM::Parameter")["DetectionPolicyParameter"]
    condition, changed, default = parameter["Value"]["Fn::If"]
    written = changed if condition == "SetsEvidence" and "OtherEvidence" in numbers else default
    return re.sub(r"\$\{(\w+)\}", lambda found: str(numbers[found[1]]), written["Fn::Sub"])


def policy_of(**numbers: float) -> Policy:
    """The policy that a deployment with these parameters writes."""
    return Policy.from_json(policy_text(**numbers))


def test_each_parameter_becomes_its_number_of_the_policy() -> None:
    numbers = {"MinimumConfidence": 91, "ConfidenceMargin": 7, "ConfidenceFloor": 33, "OtherEvidence": 66}
    assert policy_of(**numbers) == Policy(91, 7, 33, 66)


def test_defaults_of_the_parameters_make_the_policy_that_tests_use() -> None:
    assert policy_of(**{name: PARAMETERS[name]["Default"] for name in NUMBERS}) == POLICY


def test_a_default_evidence_leaves_the_parameter_as_earlier_releases_wrote_it() -> None:
    """They refuse a name that they do not know, and run while a release shifts, and after a rollback."""
    text = policy_text(**{name: PARAMETERS[name]["Default"] for name in NUMBERS})
    assert text == '{"minimum": 80, "margin": 15, "floor": 50}'
    assert PARAMETERS["OtherEvidence"]["Default"] == DEFAULT_EVIDENCE
    is_changed = {"Fn::Not": [{"Fn::Equals": [{"Ref": "OtherEvidence"}, f"{DEFAULT_EVIDENCE:g}"]}]}
    assert source()["Conditions"]["SetsEvidence"] == is_changed


def test_no_allowed_values_make_a_policy_that_cannot_be_used() -> None:
    lowest, highest = PARAMETERS["MinimumConfidence"], PARAMETERS["ConfidenceFloor"]
    for margin in (PARAMETERS["ConfidenceMargin"]["MinValue"], PARAMETERS["ConfidenceMargin"]["MaxValue"]):
        policy_of(MinimumConfidence=lowest["MinValue"], ConfidenceMargin=margin, ConfidenceFloor=highest["MaxValue"])
    assert highest["MinValue"] == LOWEST_FLOOR


# --- Parameters -------------------------------------------------------------------------------------------------------


def is_allowed(parameter: dict[str, Any], value: Any) -> bool:
    """Whether CloudFormation takes a value of a parameter."""
    if parameter["Type"] == "Number":
        return bool(parameter.get("MinValue", value) <= value <= parameter.get("MaxValue", value)) and (
            value in parameter.get("AllowedValues", [value])
        )
    allowed = str(value) in parameter.get("AllowedValues", [str(value)])
    return allowed and re.fullmatch(parameter.get("AllowedPattern", ".*"), str(value)) is not None


@pytest.mark.parametrize("name", PARAMETERS)
def test_what_is_deployed_is_allowed(name: str) -> None:
    """The default, and what samconfig.toml sets."""
    assert is_allowed(PARAMETERS[name], PARAMETERS[name]["Default"])
    for environment in parameters.environments().values():
        if name in environment:
            number = PARAMETERS[name]["Type"] == "Number"
            assert is_allowed(PARAMETERS[name], float(environment[name]) if number else environment[name])


@pytest.mark.parametrize("name", ["NotificationEmail", "AlarmEmail"])
@pytest.mark.parametrize(("address", "allowed"), [("", True), ("a@b.org", True), ("a@b", False), ("a b@c.org", False)])
def test_an_address_is_an_address_or_empty(name: str, address: str, allowed: bool) -> None:
    assert is_allowed(PARAMETERS[name], address) is allowed


def test_one_key_can_use_up_its_own_limits_only() -> None:
    """What all keys together may do is more than one of them may by default."""
    settings = resources("AWS::ApiGateway::Stage")["PetDetectorApiStage"]["MethodSettings"]
    (upload,) = [setting for setting in settings if setting["ResourcePath"] == "/~1upload"]
    assert PARAMETERS["ApiRateLimit"]["Default"] < upload["ThrottlingRateLimit"]
    assert PARAMETERS["ApiBurstLimit"]["Default"] < upload["ThrottlingBurstLimit"]
    assert PARAMETERS["ApiRateLimit"]["Default"] <= PARAMETERS["ApiBurstLimit"]["Default"]


# --- The API ----------------------------------------------------------------------------------------------------------


def test_a_changed_parameter_reaches_the_stage() -> None:
    """The body names parameters, so it is the same text for another value: the stage would keep its old snapshot."""
    deployments = []
    for second in (1_800_000_000, 1_800_000_060):
        with mock.patch("time.time", return_value=float(second)):
            made = translate()["Resources"]
        (stage,) = [resource for resource in made.values() if resource["Type"] == "AWS::ApiGateway::Stage"]
        deployments.append(stage["Properties"]["DeploymentId"]["Ref"])
        assert made[deployments[-1]]["Type"] == "AWS::ApiGateway::Deployment"
    assert deployments[0] != deployments[1]


def test_browsers_of_the_allowed_origin_and_no_other_may_use_everything() -> None:
    for function in FUNCTIONS.values():
        assert function["Environment"]["Variables"].get("ALLOWED_ORIGIN", ORIGIN) == ORIGIN
    (rule,) = resources("AWS::S3::Bucket")["ImageBucket"]["CorsConfiguration"]["CorsRules"]
    own = {"Fn::Sub": "https://*.execute-api.${AWS::Region}.${AWS::URLSuffix}"}
    page = {"Fn::If": ["UsesEdge", {"Fn::Sub": "https://${EdgeDomain}"}, own]}
    counting = {"Fn::If": ["CountsAtEdge", own, {"Ref": "AWS::NoValue"}]}
    assert (rule["AllowedOrigins"], set(rule["AllowedMethods"])) == ([ORIGIN, page, counting], {"GET", "POST"})
    for answer in API["x-amazon-apigateway-gateway-responses"].values():
        parameter = "gatewayresponse.header.Access-Control-Allow-Origin"
        assert answer["responseParameters"][parameter] == QUOTED_ORIGIN


@pytest.mark.parametrize("path", API["paths"])
def test_preflight_allows_what_the_path_and_its_function_take(path: str) -> None:
    (answer,) = API["paths"][path]["options"]["x-amazon-apigateway-integration"]["responses"].values()
    prefix = "method.response.header.Access-Control-Allow-"
    allowed = {
        key.removeprefix(prefix): value for key, value in answer["responseParameters"].items() if key.startswith(prefix)
    }
    assert allowed["Origin"] == QUOTED_ORIGIN
    assert set(allowed["Headers"].strip("'").split(",")) == {"Content-Type", "X-Api-Key", "Idempotency-Key"}
    assert {verb.upper() for verb in API["paths"][path]} <= set(allowed["Methods"].strip("'").split(","))


# What the gateway says without asking a function, as docs/api.md promises; None: the status of the error itself.
GATEWAY_RESPONSES = {
    "DEFAULT_4XX": (None, "$context.error.responseType"),
    "DEFAULT_5XX": (None, "$context.error.responseType"),
    "MISSING_AUTHENTICATION_TOKEN": (404, "NOT_FOUND"),
    "REQUEST_TOO_LARGE": (413, "REQUEST_TOO_LARGE"),
    "UNAUTHORIZED": (401, "UNAUTHORIZED"),
    "INVALID_API_KEY": (403, "INVALID_API_KEY"),
    "BAD_REQUEST_BODY": (400, "INVALID_BODY"),
    "THROTTLED": (429, "THROTTLED"),
    "INTEGRATION_FAILURE": (429, "THROTTLED"),
    "QUOTA_EXCEEDED": (429, "QUOTA_EXCEEDED"),
}


def test_the_gateway_answers_like_the_functions() -> None:
    answers = API["x-amazon-apigateway-gateway-responses"]
    found = {}
    for name, answer in answers.items():
        text = answer["responseTemplates"]["application/json"]
        body = json.loads(text.replace(":$context.error.messageString", ':"$context.error.messageString"'))
        assert body.keys() == {"code", "message", "requestId"}
        assert body["requestId"] == "$context.extendedRequestId"  # a client can choose its $context.requestId
        status = answer.get("statusCode")
        found[name] = (int(status) if status is not None else None, body["code"])
    assert found == GATEWAY_RESPONSES


def test_document_of_the_api_names_the_gateways_answers() -> None:
    document = (REPOSITORY / "docs" / "api.md").read_text()
    for status, code in GATEWAY_RESPONSES.values():
        assert status is None or (str(status) in document and code in document)


def test_document_of_the_api_has_a_row_for_every_request() -> None:
    rows = [line for line in (REPOSITORY / "docs" / "api.md").read_text().splitlines() if line.startswith("| `")]
    served = {
        f"`{verb.upper()} {path}`"
        for path, verbs in API["paths"].items()
        for verb in verbs
        if verb != "options" and not path.startswith("/app")  # the page
    }
    assert served
    assert [one for one in served if not any(one in row for row in rows)] == []


def test_the_gateway_leaves_values_to_the_function() -> None:
    """It has one message for every value that it refuses; the function says which one is wrong, and why."""
    (model,) = API["definitions"].values()
    assert model["additionalProperties"] is False
    assert model["properties"] == {key: {"type": "string"} for key in ("fileName", "contentType", "image")}
