"""What the observability stack promises: every alarm says what to do, every metric exists, every name is handed in."""

from __future__ import annotations

import copy
import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest

from ops import cost, monthly_cost
from pet_detector.rules import prices
from tests.observability.evaluator import metrics_of
from tests.support import definitions
from tests.support.paths import REPOSITORY
from tests.support.stacks import APPLICATION, NAMES, PSEUDO, observability
from tests.support.templates import load

STACK = observability()
ALARMS = STACK.of_type("AWS::CloudWatch::Alarm")
COMPOSITES = STACK.of_type("AWS::CloudWatch::CompositeAlarm")
DASHBOARDS = STACK.of_type("AWS::CloudWatch::Dashboard")
ROOT = load(REPOSITORY / "template.yaml")
RUNBOOK = REPOSITORY / "docs" / "operations.md"

# Metrics of AWS and their dimensions, from each service's page of metrics.
AWS_METRICS = {
    ("AWS/ApiGateway", ("ApiName", "Stage")): {"Count", "4XXError", "5XXError", "Latency"},
    ("AWS/Lambda", ("FunctionName",)): {"Errors", "Throttles", "Duration", "IteratorAge"},
    ("AWS/Lambda", ()): {"ConcurrentExecutions"},
    ("AWS/States", ("StateMachineArn",)): {
        "ExecutionsStarted",
        "ExecutionsSucceeded",
        "ExecutionsFailed",
        "ExecutionsTimedOut",
        "ExecutionsAborted",
        "ExecutionThrottled",
        "ExecutionTime",
    },
    ("AWS/States", ()): {"OpenExecutionCount", "OpenExecutionLimit"},
    ("AWS/Rekognition", ("Operation",)): {
        "SuccessfulRequestCount",
        "ThrottledCount",
        "ServerErrorCount",
        "ResponseTime",
    },
    ("AWS/DynamoDB", ("TableName",)): {
        "ConsumedReadCapacityUnits",
        "ConsumedWriteCapacityUnits",
    },
    ("AWS/DynamoDB", ("GlobalSecondaryIndexName", "TableName")): {
        "ConsumedReadCapacityUnits",
        "ConsumedWriteCapacityUnits",
    },
    ("AWS/DynamoDB", ("Operation", "TableName")): {"SystemErrors", "ThrottledRequests", "SuccessfulRequestLatency"},
    ("AWS/Logs", ("LogGroupName",)): {"IncomingBytes"},
    ("AWS/S3", ("BucketName", "StorageType")): {"BucketSizeBytes"},
    ("AWS/Events", ("RuleName",)): {"FailedInvocations", "InvocationsSentToDlq", "InvocationsFailedToBeSentToDlq"},
    ("AWS/SNS", ("TopicName",)): {"NumberOfNotificationsFailed"},
    ("AWS/SQS", ("QueueName",)): {
        "ApproximateNumberOfMessagesVisible",
        "ApproximateAgeOfOldestMessage",
        "NumberOfMessagesDeleted",
    },
}
# What our functions add to the dimension `service`.
OWN_DIMENSIONS = {
    "ImageClassified": ("Animal", "service"),
    "ImageRejected": ("ReasonCode", "service"),
    "Precision": ("Animal", "service"),
}
# IAM asks for the parts of a transaction, of which this one is made for nothing else; CloudWatch has it as one
# operation, of each table in it.
IN_TRANSACTIONS, TRANSACTION = "ConditionCheckItem", "TransactWriteItems"
WRITTEN_IN_TRANSACTIONS = {("ReviewsTable", TRANSACTION)}


# What the functions publish; tests/cost compares it with their code.
PUBLISHED = {*monthly_cost.METRICS, *monthly_cost.METRICS_BY_DIMENSION}


def widgets() -> list[tuple[str, dict[str, Any]]]:
    return [
        (name, widget) for name, board in DASHBOARDS.items() for widget in json.loads(board["DashboardBody"])["widgets"]
    ]


def dashboard_metrics() -> list[tuple[str, dict[str, Any]]]:
    """(widget title, metric) of every line of every graph."""
    found = []
    for _, widget in widgets():
        for line in widget["properties"].get("metrics", []):
            if isinstance(line[0], dict):  # arithmetic: test_costs_are_those_of_the_price_file
                continue
            namespace, metric, *rest = [part for part in line if isinstance(part, str)]
            dimensions = [{"Name": n, "Value": v} for n, v in zip(rest[::2], rest[1::2], strict=True)]
            found.append(
                (
                    widget["properties"]["title"],
                    {"Namespace": namespace, "MetricName": metric, "Dimensions": dimensions},
                )
            )
    return found


def alarm_metrics() -> list[tuple[str, dict[str, Any]]]:
    return [(name, metric) for name, alarm in ALARMS.items() for metric in metrics_of(alarm)]


def anchors() -> set[str]:
    """The runbook's sections that alarms link to."""
    return {alarm["AlarmDescription"].rpartition("#")[2] for alarm in [*ALARMS.values(), *COMPOSITES.values()]}


# --- Alarms -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*ALARMS, *COMPOSITES])
def test_alarm_says_what_is_wrong_and_where_help_is(name: str) -> None:
    description = {**ALARMS, **COMPOSITES}[name]["AlarmDescription"]
    sentence, _, link = description.partition(" Runbook: ")
    assert len(sentence) > 20
    assert sentence.endswith(".")
    assert re.fullmatch(re.escape(NAMES["RunbookUrl"]) + r"#[a-z][a-z-]+", link)
    assert len(description) <= 1024
    assert "${" not in description


def test_linked_sections_are_in_the_runbook() -> None:
    headings = re.findall(r"^#+ (.+)$", RUNBOOK.read_text(), re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert anchors() <= slugs


@pytest.mark.parametrize("name", [*ALARMS, *COMPOSITES])
def test_alarm_tells_somebody_when_it_begins_and_when_it_ends(name: str) -> None:
    alarm = {**ALARMS, **COMPOSITES}[name]
    assert alarm["AlarmActions"] == alarm["OKActions"]
    (topic,) = alarm["AlarmActions"]  # with PageOpsItems=false, as by default
    assert topic.rpartition(":")[2] == ("PagesTopic" if name == "PageAPerson" else "AlarmsTopic")
    if alarm.get("ActionsEnabled") is False:
        # It says nothing by itself: a composite must speak for it.
        assert any(alarm["AlarmName"] in composite["AlarmRule"] for composite in COMPOSITES.values())


def test_a_page_opens_an_ops_item_if_somebody_wants_that_and_nothing_else_does() -> None:
    """AWS knows severities 1 to 4 and five categories; only an alarm that begins can open one."""
    wanted = observability(PageOpsItems="true")
    for kind, without in (("AWS::CloudWatch::CompositeAlarm", COMPOSITES), ("AWS::CloudWatch::Alarm", ALARMS)):
        for name, alarm in wanted.of_type(kind).items():
            more = [action for action in alarm["AlarmActions"] if action not in without[name]["AlarmActions"]]
            assert more == (
                ["arn:aws:ssm:us-east-1:123456789012:opsitem:1#CATEGORY=Availability"] if name == "PageAPerson" else []
            )
            assert alarm["OKActions"] == without[name]["OKActions"]


@pytest.mark.parametrize("name", ALARMS)
def test_alarm_says_what_silence_means(name: str) -> None:
    """Of what is computed once a day silence means nothing: the last answer holds."""
    daily = name == "PrecisionFallenAlarm"
    assert ALARMS[name]["TreatMissingData"] in (("ignore",) if daily else ("notBreaching", "breaching"))


def test_alarms_have_names_of_this_application_and_no_two_the_same() -> None:
    names = [alarm["AlarmName"] for alarm in [*ALARMS.values(), *COMPOSITES.values()]]
    assert len(names) == len(set(names))
    assert all(name.startswith(f"{APPLICATION}-") for name in names)


def test_alarms_keep_the_limits_of_cloudwatch() -> None:
    for name, alarm in ALARMS.items():
        metrics = metrics_of(alarm)
        (period,) = {int(metric["Period"]) for metric in metrics}
        assert period * int(alarm["EvaluationPeriods"]) <= 86_400, name
        assert len(metrics) + ("Metrics" in alarm) <= 10, name
        if "Metrics" in alarm:
            assert [query.get("ReturnData", True) for query in alarm["Metrics"]].count(True) == 1, name
            used = set(re.findall(r"\b[a-z]\w*", alarm["Metrics"][0]["Expression"]))
            assert used == {metric["Id"] for metric in metrics}, name
    for composite in COMPOSITES.values():
        assert len(composite["AlarmRule"]) <= 10_240


def test_thresholds_are_parameters_with_a_reason() -> None:
    first = list(STACK.template["Parameters"]).index("RunbookUrl") + 1
    for name in list(STACK.template["Parameters"])[first:]:
        description = STACK.template["Parameters"][name]["Description"]
        assert len(re.findall(r"[.;] ", description)) >= 1, f"{name} has no reason: {description}"
    for name, resource in STACK.template["Resources"].items():
        if resource["Type"] == "AWS::CloudWatch::Alarm":
            threshold = resource["Properties"]["Threshold"]
            assert isinstance(threshold, dict) or threshold in (0, 1), f"{name}: any at all, or a parameter"


# --- Metrics ----------------------------------------------------------------------------------------------------------


def test_every_metric_is_one_that_somebody_publishes() -> None:
    filters = {
        (t["MetricNamespace"], t["MetricName"])
        for properties in STACK.of_type("AWS::Logs::MetricFilter").values()
        for t in properties["MetricTransformations"]
    }
    for where, metric in alarm_metrics() + dashboard_metrics():
        namespace, name = metric["Namespace"], metric["MetricName"]
        dimensions = tuple(sorted(d["Name"] for d in metric["Dimensions"]))
        if namespace == "PetDetector":
            assert name in PUBLISHED, where
            assert dimensions == OWN_DIMENSIONS.get(name, ("service",)), where
            assert {"Name": "service", "Value": APPLICATION} in metric["Dimensions"], where
        elif namespace.startswith("PetDetector/"):
            assert (namespace, name) in filters, where
            assert dimensions == (), where
        else:
            assert name in AWS_METRICS[namespace, dimensions], where


def report(memory: int, used: int, **more: float) -> dict[str, Any]:
    """A line that Lambda writes after a run (JSON log format), as its documents show it."""
    metrics = {"durationMs": 1204.5, "billedDurationMs": 1205, "memorySizeMB": memory, "maxMemoryUsedMB": used, **more}
    record = {"requestId": "6d68ca91-49c9-448d-89b8-7ca3e6dc66aa", "metrics": metrics, "status": "success"}
    return {"time": "2026-11-21T09:30:00.000Z", "type": "platform.report", "record": record}


def filtered(event: dict[str, Any]) -> dict[str, float]:
    """The metrics that the stack's filters make of a log line: `$.field = value` and `>`, joined by `&&`."""

    def field(path: str) -> Any:
        value: Any = event
        for name in path.removeprefix("$.").split("."):
            value = value.get(name) if isinstance(value, dict) else None
        return value

    found = {}
    for properties in STACK.of_type("AWS::Logs::MetricFilter").values():
        conditions = properties["FilterPattern"].strip("{} ").split(" && ")
        holds = []
        for condition in conditions:
            path, sign, value = condition.split()
            actual, expected = field(path), json.loads(value)
            holds.append(actual == expected if sign == "=" else actual is not None and actual > expected)
        (transformation,) = properties["MetricTransformations"]
        if all(holds):
            found[transformation["MetricName"]] = field(transformation["MetricValue"])
    return found


def test_lines_of_lambda_become_metrics_of_memory_and_cold_starts() -> None:
    assert filtered(report(512, 431)) == {"MemoryUsedOf512MB": 431}
    assert filtered(report(1769, 776)) == {"MemoryUsedOf1769MB": 776}
    assert filtered(report(256, 98, initDurationMs=611.2)) == {"MemoryUsedOf256MB": 98, "ColdStartTime": 611.2}
    assert filtered({"level": "INFO", "message": "platform.report", "record": {}}) == {}


def test_every_metric_of_the_application_is_on_a_dashboard() -> None:
    shown = {metric["MetricName"] for _, metric in dashboard_metrics() if metric["Namespace"] == "PetDetector"}
    assert shown == PUBLISHED


def test_every_animal_and_every_reason_is_on_the_dashboard() -> None:
    from pet_detector.rules.models import Animal, ReasonCode

    shown = {d["Value"] for _, metric in dashboard_metrics() for d in metric["Dimensions"]}
    assert {*map(str, Animal), *map(str, ReasonCode)} <= shown


def test_no_metric_has_an_identifier_as_dimension() -> None:
    for where, metric in alarm_metrics() + dashboard_metrics():
        for dimension in metric["Dimensions"]:
            assert not re.search(r"(?i)image_?id|execution|correlation|request", dimension["Name"]), where


def test_dashboards_have_what_cloudwatch_needs() -> None:
    for name, widget in widgets():
        properties = widget["properties"]
        assert widget["type"] in ("metric", "log"), name
        assert widget["width"] <= 24
        assert properties["title"]
        assert properties["region"]
        if widget["type"] == "log":
            assert properties["query"].startswith("SOURCE '")
        for line in properties.get("annotations", {}).get("horizontal", []):
            assert isinstance(line["value"], int | float), "a parameter would be text here, which PutDashboard refuses"


def test_lines_on_dashboards_are_the_thresholds_of_alarms() -> None:
    lines = {
        line["label"]: line["value"]
        for _, widget in widgets()
        for line in widget["properties"].get("annotations", {}).get("horizontal", [])
    }
    assert lines.pop("p99 objective") == 1000
    assert lines == {
        "sudden cost": STACK.values["HourlyCostUsd"],
        "slow": STACK.values["SlowProcessingMilliseconds"],
        "80 % of 256": STACK.values["Memory256Megabytes"],
        "80 % of 512": STACK.values["Memory512Megabytes"],
        "80 % of 1769": STACK.values["Memory1769Megabytes"],
    }


# --- Costs ------------------------------------------------------------------------------------------------------------

# Each line of the cost dashboard: its arithmetic, whose numbers are those of the price file and of the code.
UNIT = prices.prices()
GB = 1024**3
LAMBDA = UNIT["lambda_gb_second_arm64"]
ARITHMETIC = {
    "Rekognition": f"calls * {UNIT['rekognition_image']}",
    "state transitions": (
        f"({prices.TRANSITIONS} * FILL(finished, 0) + FILL(uncertain, 0) + {prices.WAIT_TRANSITIONS} * FILL(waited, 0) "
        f"+ 5 * FILL(verdicts, 0)) * {UNIT['states_standard_transition']:.6f}"
    ),
    **{
        f"Lambda, functions of {size:,} MB": f'SUM(METRICS("of{size}mb")) / 1000 * {size} / 1024 * {LAMBDA:.10f}'
        for size in (256, 512, 1769)
    },
    "DynamoDB, writes": f'SUM(METRICS("write_")) * {UNIT["dynamodb_write_unit"]:.9f}',
    "DynamoDB, reads": f'SUM(METRICS("read_")) * {UNIT["dynamodb_read_unit"]:.9f}',
    "API Gateway": f"requests * {UNIT['api_request']:.7f}",
    "CloudWatch Logs": f'SUM(METRICS("log_")) / {GB} * {UNIT["logs_gb"]}',
    "STANDARD": f"standard / {GB} * {UNIT['s3_storage_gb_month']}",
    "STANDARD_IA": f"infrequent / {GB} * {UNIT['s3_standard_ia_storage_gb_month']}",
    "GLACIER_IR": f"instant / {GB} * {UNIT['s3_glacier_ir_storage_gb_month']}",
}


def cost_lines() -> list[list[Any]]:
    board = json.loads(DASHBOARDS["Dashboards.CostDashboard"]["DashboardBody"])
    bill, *own = board["widgets"]
    assert bill["properties"]["region"] == "us-east-1"  # AWS publishes bills nowhere else
    assert "{AWS/Billing,Currency,ServiceName}" in bill["properties"]["metrics"][0][0]["expression"]
    return [line for widget in own for line in widget["properties"]["metrics"]]


def test_costs_are_those_of_the_price_file() -> None:
    shown = {line[0]["label"]: line[0]["expression"] for line in cost_lines() if isinstance(line[0], dict)}
    assert shown == ARITHMETIC
    assert prices.REVIEW_TRANSITIONS == 1  # FILL(uncertain, 0)
    assert cost.states_of_a_verdict() == 5


def test_each_metric_of_the_costs_is_hidden_and_used() -> None:
    named = {line[-1]["id"]: line for line in cost_lines() if isinstance(line[0], str)}
    assert all(line[-1]["visible"] is False for line in named.values())
    used = set()
    for expression in ARITHMETIC.values():
        parts = re.findall(r'METRICS\("(\w+)"\)', expression)
        used |= {name for part in parts for name in named if part in name}
        used |= set(re.findall(r"[a-z]\w*", re.sub(r'"\w+"', "", expression)))
    assert used == set(named)


def test_costs_of_lambda_use_the_memory_of_each_function() -> None:
    default = ROOT["Globals"]["Function"]["MemorySize"]
    memory = {
        f"{name}Name": properties.get("MemorySize", default)
        for name, properties in of_type("AWS::Serverless::Function").items()
        if name not in ATTENDED
    }
    shown = [line for line in cost_lines() if line[0] == "AWS/Lambda"]
    assert {line[3]: int(re.findall(r"of(\d+)mb_", line[-1]["id"])[0]) for line in shown} == memory


@pytest.mark.parametrize("kind", ["Read", "Write"])
def test_costs_of_dynamodb_count_each_index(kind: str) -> None:
    shown = [line[3:-1] for line in cost_lines() if f"Consumed{kind}CapacityUnits" in line]
    paid = []
    for table, properties in of_type("AWS::DynamoDB::Table").items():
        indexes = [index["IndexName"] for index in properties.get("GlobalSecondaryIndexes", [])]
        if table != "ErasuresTable":  # a row an erasure
            paid += [[f"{table}Name"], *([f"{table}Name", "GlobalSecondaryIndexName", index] for index in indexes)]
    assert sorted(shown) == sorted(paid)


# --- The root template hands in what there is to watch ----------------------------------------------------------------


def handed_in() -> dict[str, Any]:
    parameters: dict[str, Any] = ROOT["Resources"]["ObservabilityStack"]["Properties"]["Parameters"]
    return parameters


def of_type(kind: str) -> dict[str, Any]:
    """Properties by logical id of the root's resources of a type; the rules of functions are SAM's to make."""
    found = {name: r.get("Properties", {}) for name, r in ROOT["Resources"].items() if r["Type"] == kind}
    if kind == "AWS::Events::Rule":
        found |= definitions.resources(kind)
    return found


def test_root_hands_in_every_name_and_nothing_unknown() -> None:
    declared = STACK.template["Parameters"]
    assert {name for name, parameter in declared.items() if "Default" not in parameter} <= set(handed_in())
    assert set(handed_in()) <= set(declared)


# An operator starts a backfill, and petdetect says how it goes and how it ended: nobody else need be told.
ATTENDED = {"RegisterImagesFunction", "BackfillWorkflow"}


@pytest.mark.parametrize(
    "kind",
    [
        "AWS::Serverless::Function",
        "AWS::SQS::Queue",
        "AWS::Events::Rule",
        "AWS::DynamoDB::Table",
        "AWS::Serverless::StateMachine",
        "AWS::SNS::Topic",
        "AWS::Logs::LogGroup",
    ],
)
def test_everything_of_a_kind_is_watched(kind: str) -> None:
    """A new function, queue or rule that nobody watches makes this fail."""
    given = json.dumps(handed_in())
    assert of_type(kind)
    for name, properties in of_type(kind).items():
        handed = f'"{name}"' in given or ("Name" in properties and json.dumps(properties["Name"]) in given)
        assert handed or name in ATTENDED, f"{name} is not handed to stacks/observability.yaml"


def test_every_name_that_is_handed_in_is_watched_by_an_alarm() -> None:
    queues = {name for name in STACK.template["Parameters"] if name.endswith("QueueName")}
    depth = [m["Dimensions"][0]["Value"] for _, m in alarm_metrics() if m["MetricName"].endswith("MessagesVisible")]
    assert sorted(depth) == sorted(STACK.values[name] for name in queues)
    for kind, metrics in {
        "FunctionName": {"Errors"},
        "RuleName": {"FailedInvocations", "InvocationsSentToDlq", "InvocationsFailedToBeSentToDlq"},
        "TopicName": {"NumberOfNotificationsFailed"},
        "WorkflowArn": {"ExecutionsFailed", "ExecutionsTimedOut", "ExecutionsAborted"},
    }.items():
        for name in STACK.template["Parameters"]:
            if name.endswith(kind):
                dimensions = [(m["MetricName"], d["Value"]) for _, m in alarm_metrics() for d in m["Dimensions"]]
                assert {(metric, STACK.values[name]) for metric in metrics} <= set(dimensions), name


@pytest.mark.parametrize("metric", ["ThrottledRequests", "SystemErrors"])
def test_tables_are_shown_in_each_operation_that_somebody_may_do(metric: str) -> None:
    """What the policies allow is what the application does; a table's own metrics leave out its indexes."""
    allowed = {
        (table, action.removeprefix("dynamodb:"))
        for statement in statements(ROOT["Resources"])
        for table in of_type("AWS::DynamoDB::Table")
        for action in _list(statement["Action"])
        if re.fullmatch(r"dynamodb:(\w+Item|Query|Scan)", action) and table in json.dumps(statement["Resource"])
    }
    done = {(table, TRANSACTION if action == IN_TRANSACTIONS else action) for table, action in allowed}
    shown = {tuple(d["Value"] for d in m["Dimensions"]) for _, m in dashboard_metrics() if m["MetricName"] == metric}
    assert shown == {(f"{table}Name", action) for table, action in done | WRITTEN_IN_TRANSACTIONS}


def statements(value: Any) -> Iterator[dict[str, Any]]:
    """Policy statements anywhere in a template."""
    if isinstance(value, dict) and "Action" in value and "Resource" in value:
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from statements(item)


def test_every_dead_letter_queue_is_on_the_dashboard() -> None:
    shown = {m["Dimensions"][0]["Value"] for where, m in dashboard_metrics() if where == "Dead letters"}
    queues = {STACK.values[f"{name}Name"] for name in of_type("AWS::SQS::Queue")}
    assert shown == queues | {STACK.resolve({"Fn::GetAtt": ["UndeliveredAlarmsQueue", "QueueName"]})}


@pytest.mark.parametrize(
    "name",
    [
        *("AlarmEmail", "RunbookUrl", "ConcurrentExecutions"),
        *("MonthlyBudgetUsd", "BudgetTag", "CostAnomalyUsd", "CostAnomalyMonitorArn"),
    ],
)
def test_root_passes_its_own_parameter_on(name: str) -> None:
    assert handed_in()[name] == {"Ref": name}
    # A number is a text in the root, where a rule compares it with "0".
    assert str(ROOT["Parameters"][name]["Default"]) == str(STACK.template["Parameters"][name]["Default"])


def test_metrics_by_method_are_not_bought() -> None:
    """API Gateway sells them as custom metrics, and no alarm and no widget reads them."""
    for setting in ROOT["Resources"]["PetDetectorApi"]["Properties"]["MethodSettings"]:
        assert not setting.get("MetricsEnabled")


def test_core_needs_nothing_back_but_the_alarms_that_send_a_release_back() -> None:
    """And those only while it shifts: AllAtOnce must bring out a repair although the alarm that it ends still rings."""
    # These, as optional, tell its topics (the edge, what is seen from outside, backups), or read them.
    optional = ("ObservabilityStack", "GovernanceStack", "EdgeStack", "OutsideLookStack", "ChatStack", "RecoveryStack")
    rest = copy.deepcopy({name: r for name, r in ROOT["Resources"].items() if name not in optional})
    shifted = {
        name: rest[name]["Properties"].pop("DeploymentPreference")["Alarms"]["Fn::If"]
        for name in ("ImageWorkflow", "UploadApiFunction", "ImagesApiFunction", "ErasureApiFunction")
    }
    assert "ObservabilityStack" not in json.dumps([rest, ROOT["Outputs"]], default=str)
    watched = set()
    for name, (condition, alarms, _) in shifted.items():
        assert condition == "ShiftsGradually"
        names = [alarm["Fn::GetAtt"][1].removeprefix("Outputs.") for alarm in alarms]
        kind = "Images: " if name == "ImageWorkflow" else "API: "
        for output in names:
            assert STACK.template["Outputs"][output]["Description"].startswith(kind), f"{name} watches {output}"
        watched |= set(names)
    assert watched == {name for name in STACK.template["Outputs"] if name.endswith("AlarmName")}


def test_api_has_the_name_that_its_alarms_watch() -> None:
    """Without a name or a definition of its own SAM titles an API with the stack's name, which is its metric name."""
    assert not {"Name", "DefinitionBody", "DefinitionUri"} & set(ROOT["Resources"]["PetDetectorApi"]["Properties"])
    assert handed_in()["ApplicationName"] == {"Ref": "AWS::StackName"}


def test_memory_is_watched_for_each_size_that_a_function_has() -> None:
    default = ROOT["Globals"]["Function"]["MemorySize"]
    sizes = {properties.get("MemorySize", default) for properties in of_type("AWS::Serverless::Function").values()}
    watched = {int(m[1]) for name in ALARMS if (m := re.fullmatch(r"Memory(\d+)Alarm", name))}
    assert sizes == watched
    for size in sizes:
        assert STACK.values[f"Memory{size}Megabytes"] == round(0.8 * size)


def test_observability_is_on_in_staging_and_prod_wherever_that_is() -> None:
    config = tomllib.loads((REPOSITORY / "samconfig.toml").read_text())
    on = {name for name, environment in config.items() if "Observability=true" in str(environment)}
    assert on == {"staging", "prod", "recovery"}
    assert ROOT["Parameters"]["Observability"]["Default"] == "false"
    for name in on:
        assert "CAPABILITY_AUTO_EXPAND" in config[name]["deploy"]["parameters"]["capabilities"]


# --- Who may publish, money, traces -----------------------------------------------------------------------------------


def test_alarm_topics_are_encrypted_with_a_key_that_the_services_may_use() -> None:
    """alias/aws/sns would silence every alarm: CloudWatch may not use that key, and nobody can change its policy."""
    topics = STACK.of_type("AWS::SNS::Topic")
    key = STACK.of_type("AWS::KMS::Key")["AlarmsKey"]
    services = {"cloudwatch.amazonaws.com", "budgets.amazonaws.com", "costalerts.amazonaws.com"}
    used = [statement for statement in _allowed(key["KeyPolicy"]) if "Service" in statement["Principal"]]
    assert {name for statement in used for name in _list(statement["Principal"]["Service"])} == services
    for statement in used:
        assert set(statement["Action"]) == {"kms:Decrypt", "kms:GenerateDataKey*"}
        # CloudWatch's own example has no condition, and a refusal would be silent.
        assert ("Condition" in statement) is (statement["Principal"]["Service"] != "cloudwatch.amazonaws.com")
    assert key["EnableKeyRotation"] is True
    for topic in topics.values():
        assert topic["KmsMasterKeyId"].endswith("AlarmsKey")
    policies = STACK.of_type("AWS::SNS::TopicPolicy")
    for policy in policies.values():  # SNS refuses a statement about any topic but the one that it is set on
        (publish,) = _allowed(policy["PolicyDocument"])
        assert policy["Topics"] == [publish["Resource"]]
        assert "cloudwatch.amazonaws.com" in publish["Principal"]["Service"]
        assert publish["Condition"] == {"StringEquals": {"aws:SourceAccount": "123456789012"}}
    (alarms,) = _allowed(policies["AlarmsTopicPolicy"]["PolicyDocument"])
    assert set(alarms["Principal"]["Service"]) == services
    assert len(policies) == len(topics)


def test_an_address_hears_of_alarms_and_of_pages() -> None:
    queue = STACK.resolve({"Fn::GetAtt": ["UndeliveredAlarmsQueue", "Arn"]})
    subscriptions = STACK.of_type("AWS::SNS::Subscription").values()
    topics = {STACK.resolve({"Ref": name}) for name in STACK.of_type("AWS::SNS::Topic")}
    assert {subscription["TopicArn"] for subscription in subscriptions} == topics
    for subscription in subscriptions:
        assert (subscription["Protocol"], subscription["Endpoint"]) == ("email", NAMES["AlarmEmail"])
        assert subscription["RedrivePolicy"] == {"deadLetterTargetArn": queue}
    (statement,) = _allowed(STACK.of_type("AWS::SQS::QueuePolicy")["UndeliveredAlarmsQueuePolicy"]["PolicyDocument"])
    assert (statement["Principal"], statement["Action"]) == ({"Service": "sns.amazonaws.com"}, "sqs:SendMessage")
    assert statement["Resource"] == queue
    assert set(statement["Condition"]["ArnEquals"]["aws:SourceArn"]) == topics


def _allowed(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The statements that let in; the others are tests/template/test_encryption.py's."""
    return [statement for statement in document["Statement"] if statement["Effect"] == "Allow"]


def _list(value: str | list[str]) -> list[str]:
    return value if isinstance(value, list) else [value]


def test_budget_and_anomaly_monitor_are_off_until_they_are_wanted() -> None:
    money = {"AWS::Budgets::Budget", "AWS::CE::AnomalyMonitor", "AWS::CE::AnomalySubscription"}
    off = observability(MonthlyBudgetUsd=0, CostAnomalyUsd=0, AlarmEmail="")
    assert not {resource["Type"] for resource in off.resources.values()} & money
    assert not off.of_type("AWS::SNS::Subscription")
    notices = STACK.of_type("AWS::Budgets::Budget")["MonthlyBudget"]["NotificationsWithSubscribers"]
    assert [notice["Notification"]["Threshold"] for notice in notices] == [80, 90, 100]


def test_a_second_environment_subscribes_to_the_accounts_only_monitor() -> None:
    """AWS allows one monitor of services per account."""
    monitor = "arn:aws:ce::111122223333:anomalymonitor/0a1b2c3d-0000-4000-8000-000000000000"
    second = observability(CostAnomalyMonitorArn=monitor)
    assert not second.of_type("AWS::CE::AnomalyMonitor")
    assert second.of_type("AWS::CE::AnomalySubscription")["CostAnomalySubscription"]["MonitorArnList"] == [monitor]
    assert list(STACK.of_type("AWS::CE::AnomalyMonitor")) == ["CostAnomalyMonitor"]
    assert not observability(CostAnomalyMonitorArn=monitor, CostAnomalyUsd=0).of_type("AWS::CE::AnomalySubscription")


def test_no_request_is_traced_but_one_of_ten_and_nothing_is_billed_besides() -> None:
    rules = STACK.of_type("AWS::XRay::SamplingRule")
    assert {rule["SamplingRule"]["FixedRate"] for rule in rules.values()} == {0.1}
    assert {rule["SamplingRule"]["ReservoirSize"] for rule in rules.values()} == {0}
    (group,) = STACK.of_type("AWS::XRay::Group").values()
    assert not group["InsightsConfiguration"]["InsightsEnabled"]


def trace_names(stage: str) -> set[str]:
    """Names of the X-Ray resources of a stack."""
    stack = observability(Stage=stage)
    rules = {rule["SamplingRule"]["RuleName"] for rule in stack.of_type("AWS::XRay::SamplingRule").values()}
    return rules | {group["GroupName"] for group in stack.of_type("AWS::XRay::Group").values()}


@pytest.mark.parametrize("stage", ROOT["Parameters"]["Stage"]["AllowedValues"])
def test_x_ray_names_fit_carry_the_prefix_and_differ_between_stacks(
    stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rules and groups have names that an account and region has once; 32 characters at most."""
    names = trace_names(stage)
    assert len(names) == 3
    assert all(len(name) <= 32 and name.startswith("serverlessapp-") for name in names)
    monkeypatch.setitem(PSEUDO, "AWS::StackId", PSEUDO["AWS::StackId"].replace("/0f9e8d7c-", "/a1b2c3d4-"))
    assert not names & trace_names(stage)
