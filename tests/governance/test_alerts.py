"""Security alerts: which lines of the trail alarm a person, which do not, and that the alert arrives with its runbook.

Lines are cut from examples of AWS's documents. Whether CloudTrail still writes them so, only AWS can show.
"""

from __future__ import annotations

import fnmatch
import json
import re
from typing import Any

import pytest

from tests.governance.patterns import matches
from tests.support.paths import REPOSITORY
from tests.support.stacks import APPLICATION, NAMES, PSEUDO, governance
from tests.support.templates import load

STACK = governance(ImageBucketName="pictures")
ALARMS = STACK.of_type("AWS::CloudWatch::Alarm")
KEPT = ALARMS["UndeliveredAlertsAlarm"]
OF_LINES = {name: alarm for name, alarm in ALARMS.items() if alarm is not KEPT}
FILTERS = STACK.of_type("AWS::Logs::MetricFilter")
TOPIC = STACK.resolve({"Ref": "SecurityTopic"})
NAMESPACE = f"PetDetector/{APPLICATION}"

# --- Lines of the trail -----------------------------------------------------------------------------------------------

PERSON = {"type": "AssumedRole", "arn": "arn:aws:sts::123456789012:assumed-role/admin/ada"}
BY_CLOUDFORMATION = {**PERSON, "invokedBy": "cloudformation.amazonaws.com"}
GROUP = FILTERS["RootUsedFilter"]["LogGroupName"]
GOVERNANCE_ARN = f"arn:aws:cloudformation:us-east-1:123456789012:stack/{APPLICATION}-GovernanceStack-1A2B/0f9e"
Line = dict[str, Any]


def event(service: str, name: str, *, write: bool = True, who: Line = PERSON, **more: Any) -> Line:
    """A management event as CloudTrail writes it."""
    return {
        "userIdentity": who,
        "eventSource": f"{service}.amazonaws.com",
        "eventName": name,
        "readOnly": not write,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "requestParameters": {},
        **more,
    }


def denied(name: str, code: str = "AccessDenied", **more: Any) -> Line:
    return event("s3", name, write=False, errorCode=code, errorMessage="Access Denied", **more)


def signed_in(mfa: str, kind: str = "IAMUser", result: str = "Success") -> Line:
    line = event("signin", "ConsoleLogin", who={"type": kind})
    return line | {"responseElements": {"ConsoleLogin": result}, "additionalEventData": {"MFAUsed": mfa}}


def on(name: str, bucket: str, **more: Any) -> Line:
    return event("s3", name, requestParameters={"bucketName": bucket}, **more)


def asked(service: str, name: str, parameters: Line, **more: Any) -> Line:
    return event(service, name, requestParameters=parameters, **more)


ROOT_USER = {"type": "Root", "arn": "arn:aws:iam::123456789012:root"}
# Lines that a filter takes, and lines beside them that it leaves: weaken or widen a filter, and one of them moves.
TAKEN: dict[str, list[Line]] = {
    "RootUsedFilter": [
        event("signin", "ConsoleLogin", who=ROOT_USER, eventType="AwsConsoleSignIn"),
        event("s3", "ListBuckets", write=False, who=ROOT_USER),
    ],
    "CallsDeniedFilter": [
        denied("GetObject"),
        denied("Query", "AccessDeniedException"),
        denied("DescribeInstances", "Client.UnauthorizedOperation"),
    ],
    "IamChangedFilter": [
        event("iam", name)
        for name in (
            "CreateUser",
            "CreateAccessKey",
            "CreateLoginProfile",
            "AttachUserPolicy",
            "PutRolePolicy",
            "UpdateAssumeRolePolicy",
            "CreatePolicyVersion",
            "DeleteRolePermissionsBoundary",
            "AddUserToGroup",
            "DeactivateMFADevice",
        )
    ]
    # A deployment makes roles, never these: a template that has one is not ours.
    + [event("iam", name, who=BY_CLOUDFORMATION) for name in ("CreateUser", "CreateAccessKey", "CreateLoginProfile")],
    "KmsKeyChangedFilter": [
        *(event("kms", name) for name in ("DisableKey", "ScheduleKeyDeletion", "PutKeyPolicy", "DisableKeyRotation")),
        event("kms", "ScheduleKeyDeletion", who=BY_CLOUDFORMATION),
    ],
    "BucketChangedFilter": [
        *(
            on(name, bucket)
            for bucket in ("pictures", "TrailBucket")
            for name in (
                "PutBucketPolicy",
                "DeleteBucketPolicy",
                "PutBucketAcl",
                "DeleteBucketPublicAccessBlock",
                "PutBucketPublicAccessBlock",
                "PutBucketReplication",
                "PutBucketLifecycle",
                "PutBucketEncryption",
                "PutBucketVersioning",
            )
        ),
        event("s3", "DeleteAccountPublicAccessBlock"),
    ],
    "WatchChangedFilter": [
        *(event("cloudtrail", name) for name in ("StopLogging", "DeleteTrail", "UpdateTrail", "PutEventSelectors")),
        event("cloudtrail", "StopLogging", who=BY_CLOUDFORMATION),
        event("guardduty", "DeleteDetector"),
        event("guardduty", "UpdateDetector"),
        event("config", "StopConfigurationRecorder"),
        event("config", "DeleteDeliveryChannel"),
        event("config", "DeleteConfigRule"),
        asked("logs", "DeleteLogGroup", {"logGroupName": GROUP}),
        asked("logs", "PutRetentionPolicy", {"logGroupName": GROUP, "retentionInDays": 1}),
        asked("logs", "DeleteMetricFilter", {"logGroupName": GROUP}),
        asked("monitoring", "DeleteAlarms", {"alarmNames": [f"{APPLICATION}-root-used"]}),
        asked("monitoring", "DisableAlarmActions", {"alarmNames": [f"{APPLICATION}-root-used"]}),
        asked("monitoring", "PutMetricAlarm", {"alarmName": f"{APPLICATION}-root-used"}),
    ],
    "AlertsChangedFilter": [
        line
        for who in (PERSON, BY_CLOUDFORMATION)
        for line in (
            asked("sns", "DeleteTopic", {"topicArn": TOPIC}, who=who),
            asked("sns", "SetTopicAttributes", {"topicArn": TOPIC, "attributeName": "Policy"}, who=who),
            asked("sns", "Unsubscribe", {"subscriptionArn": f"{TOPIC}:0a1b"}, who=who),
            asked("sns", "SetSubscriptionAttributes", {"subscriptionArn": f"{TOPIC}:0a1b"}, who=who),
            asked("monitoring", "DeleteAlarms", {"alarmNames": [f"{APPLICATION}-security-root-used"]}, who=who),
            asked("events", "DeleteRule", {"name": f"{APPLICATION}-security-findings"}, who=who),
            asked("events", "DisableRule", {"name": f"{APPLICATION}-security-findings"}, who=who),
            asked("events", "RemoveTargets", {"rule": f"{APPLICATION}-security-findings"}, who=who),
            asked("cloudformation", "DeleteStack", {"stackName": f"{APPLICATION}-GovernanceStack-1A2B"}, who=who),
            asked("cloudformation", "DeleteStack", {"stackName": GOVERNANCE_ARN}, who=who),
        )
    ]
    # A security alarm behind another one.
    + [asked("monitoring", "DeleteAlarms", {"alarmNames": ["another", f"{APPLICATION}-security-root-used"]})],
    "SignInWithoutMfaFilter": [signed_in("No")],
    "ApiKeyReadFilter": [
        event("apigateway", "CreateApiKey"),
        asked("apigateway", "GetApiKey", {"apiKey": "abc", "includeValue": True}, write=False),
        asked("apigateway", "GetApiKey", {"apiKey": "abc", "includeValue": "true"}, write=False),
        asked("secretsmanager", "GetSecretValue", {"secretId": f"{APPLICATION}/key/abc"}, write=False),
    ],
    "ApiKeysListedFilter": [
        event("apigateway", "ImportApiKeys"),
        asked("apigateway", "GetApiKeys", {"includeValues": True}, write=False),
        asked("apigateway", "GetApiKeys", {"includeValues": "true"}, write=False),
    ],
    "RefusedApiKeysFilter": [
        {"error": "INVALID_API_KEY", "apiKeyId": "-"},
        {"error": "THROTTLED", "apiKeyId": "abc"},
        {"error": "QUOTA_EXCEEDED", "apiKeyId": "abc"},
    ],
}
LEFT: dict[str, list[Line]] = {
    "RootUsedFilter": [
        event("s3", "ListBuckets"),
        event("support", "Refresh", who={**ROOT_USER, "invokedBy": "support.amazonaws.com"}),
        event("kms", "RotateKey", who=ROOT_USER, eventType="AwsServiceEvent"),
    ],
    "CallsDeniedFilter": [
        event("s3", "GetObject", write=False),
        denied("HeadBucket"),
        denied("GetObject") | {"errorMessage": "Request has expired"},
        denied("PutObject", who={"type": "AWSService"}),
        denied("GetObject", "NoSuchKey"),
    ],
    "IamChangedFilter": [
        event("iam", "GetRolePolicy", write=False),
        event("iam", "PutRolePolicy", who=BY_CLOUDFORMATION),
        event("iam", "CreateUser", errorCode="AccessDenied"),
        event("sts", "AssumeRole"),
    ],
    "KmsKeyChangedFilter": [
        event("kms", "Decrypt", write=False),
        event("kms", "CreateGrant"),
        event("kms", "DisableKey", errorCode="AccessDenied"),
    ],
    "BucketChangedFilter": [
        on("PutBucketPolicy", "somebody-elses"),
        on("PutBucketPolicy", "pictures", who=BY_CLOUDFORMATION),
        on("GetBucketPolicy", "pictures", write=False),
        on("PutObject", "pictures", managementEvent=False),
        on("PutBucketPolicy", "pictures", errorCode="AccessDenied"),
    ],
    "WatchChangedFilter": [
        event("cloudtrail", "LookupEvents", write=False),
        event("cloudtrail", "StopLogging", errorCode="AccessDenied"),
        event("guardduty", "ArchiveFindings"),
        event("guardduty", "UpdateDetector", who=BY_CLOUDFORMATION),
        event("config", "StartConfigRulesEvaluation"),
        asked("logs", "PutRetentionPolicy", {"logGroupName": "another"}),
        asked("logs", "PutRetentionPolicy", {"logGroupName": GROUP}, who=BY_CLOUDFORMATION),
        asked("monitoring", "DeleteAlarms", {"alarmNames": ["another"]}),
    ],
    "AlertsChangedFilter": [
        asked("sns", "SetTopicAttributes", {"topicArn": TOPIC.replace("Security", "Notices")}),
        asked("sns", "Unsubscribe", {"subscriptionArn": f"{TOPIC.replace('Security', 'Notices')}:0a1b"}),
        asked("sns", "DeleteTopic", {"topicArn": TOPIC}, errorCode="AuthorizationError"),
        asked("sns", "Subscribe", {"topicArn": TOPIC}),
        asked("sns", "GetTopicAttributes", {"topicArn": TOPIC}, write=False),
        asked("monitoring", "DeleteAlarms", {"alarmNames": ["another"]}),
        asked("monitoring", "DeleteAlarms", {"alarmNames": ["another", "and-one-more"]}, who=BY_CLOUDFORMATION),
        asked("events", "DisableRule", {"name": "another"}),
        asked("cloudformation", "DeleteStack", {"stackName": "another"}),
        asked("cloudformation", "UpdateStack", {"stackName": GOVERNANCE_ARN}, who=BY_CLOUDFORMATION),
    ],
    "SignInWithoutMfaFilter": [
        signed_in("Yes"),
        signed_in("No", "AssumedRole"),
        signed_in("No", result="Failure"),
        event("signin", "SwitchRole", who={"type": "IAMUser"}),
    ],
    "ApiKeyReadFilter": [
        asked("apigateway", "GetApiKey", {"apiKey": "abc", "includeValue": False}, write=False),
        asked("apigateway", "GetApiKey", {"apiKey": "abc"}, write=False),
        event("apigateway", "CreateApiKey", who=BY_CLOUDFORMATION),
        event("apigateway", "CreateApiKey", errorCode="AccessDenied"),
        asked("secretsmanager", "GetSecretValue", {"secretId": "of-another-application"}, write=False),
    ],
    "ApiKeysListedFilter": [
        asked("apigateway", "GetApiKeys", {"limit": 25}, write=False),
        asked("apigateway", "GetApiKeys", {"includeValues": True}, errorCode="AccessDenied"),
    ],
    "RefusedApiKeysFilter": [
        {"error": "-", "apiKeyId": "abc"},
        {"error": "INTEGRATION_FAILURE", "apiKeyId": "abc"},
        {"error": "BAD_REQUEST_BODY", "apiKeyId": "abc"},
        {"error": "THROTTLED", "apiKeyId": "-"},  # /health needs no key: anybody can flood it
    ],
}


def test_every_filter_has_lines() -> None:
    assert set(FILTERS) == set(TAKEN) == set(LEFT)


@pytest.mark.parametrize("name", FILTERS)
def test_filter_takes_what_must_alarm(name: str) -> None:
    pattern = FILTERS[name]["FilterPattern"]
    assert [line for line in TAKEN[name] if not matches(pattern, line)] == []


@pytest.mark.parametrize("name", FILTERS)
def test_filter_leaves_what_is_work(name: str) -> None:
    pattern = FILTERS[name]["FilterPattern"]
    assert [line for line in LEFT[name] if matches(pattern, line)] == []


@pytest.mark.parametrize("name", FILTERS)
def test_filter_keeps_the_limit_of_cloudwatch_logs(name: str) -> None:
    assert len(FILTERS[name]["FilterPattern"]) <= 1024


def test_words_of_the_access_log_are_those_that_the_api_writes() -> None:
    api = load(REPOSITORY / "template.yaml")["Resources"]["PetDetectorApi"]["Properties"]
    written = json.loads(api["AccessLogSetting"]["Format"])
    assert (written["error"], written["apiKeyId"]) == ("$context.error.responseType", "$context.identity.apiKeyId")
    pattern = FILTERS["RefusedApiKeysFilter"]["FilterPattern"]
    assert set(re.findall(r'"(\w+)"', pattern)) <= set(api["GatewayResponses"])


# --- Alarms -----------------------------------------------------------------------------------------------------------

# Metric, and what of it in five minutes alarms.
ALARMING = {
    "root-used": ("RootUsed", ">", 0),
    "calls-denied": ("CallsDenied", ">", 30),
    "iam-changed": ("IamChanged", ">", 0),
    "kms-key-changed": ("KmsKeyChanged", ">", 0),
    "bucket-changed": ("BucketChanged", ">", 0),
    "watch-changed": ("WatchChanged", ">", 0),
    "sign-in-without-mfa": ("SignInWithoutMfa", ">", 0),
    "api-keys-read": ("ApiKeyValuesRead", ">=", 5),
    "api-key-spike": ("RefusedApiKeys", ">", 300),
}
SIGNS = {"GreaterThanThreshold": ">", "GreaterThanOrEqualToThreshold": ">="}


def test_alarms_are_these_and_no_weaker() -> None:
    found = {}
    for alarm in OF_LINES.values():
        name = alarm["AlarmName"].removeprefix(f"{APPLICATION}-security-")
        found[name] = (alarm["MetricName"], SIGNS[alarm["ComparisonOperator"]], alarm["Threshold"])
        assert (alarm["Namespace"], alarm["Statistic"], alarm["Period"]) == (NAMESPACE, "Sum", 300), name
        assert (alarm["EvaluationPeriods"], alarm["TreatMissingData"]) == (1, "notBreaching"), name
        assert "Dimensions" not in alarm
    assert found == ALARMING


def test_every_metric_of_a_filter_has_an_alarm_and_every_alarm_a_filter() -> None:
    made: dict[str, set[str]] = {}
    for filter_ in FILTERS.values():
        (transformation,) = filter_["MetricTransformations"]
        assert transformation["MetricNamespace"] == NAMESPACE
        made.setdefault(transformation["MetricName"], set()).add(transformation["MetricValue"])
    assert set(made) == {alarm["MetricName"] for alarm in OF_LINES.values()}
    # A list of all keys with their values is as many as alarm.
    assert made.pop("ApiKeyValuesRead") == {"1", str(STACK.values["ApiKeyValuesRead"])}
    assert set().union(*made.values()) == {"1"}


@pytest.mark.parametrize("name", ALARMS)
def test_alarm_tells_the_security_topic_and_says_where_help_is(name: str) -> None:
    alarm = ALARMS[name]
    assert alarm["AlarmActions"] == alarm["OKActions"] == [TOPIC]
    assert alarm["AlarmName"].startswith(f"{APPLICATION}-security-"), "policies and a filter know it by that"
    assert alarm.get("ActionsEnabled", True) is True
    sentence, _, link = alarm["AlarmDescription"].partition(" Runbook: ")
    assert sentence.endswith(".")
    assert len(sentence) > 20
    assert link.startswith(f"{NAMES['RunbookUrl']}#")


def runbooks() -> dict[str, str]:
    """What the document says, by anchor."""
    parts = re.split(r"^#{1,2} (.+)\n", (REPOSITORY / "docs" / "operations.md").read_text(), flags=re.MULTILINE)
    slugs = (re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in parts[1::2])
    return dict(zip(slugs, parts[2::2], strict=True))


def linked() -> set[str]:
    """Anchors in alarms and in the messages of rules."""
    rules = [target["InputTransformer"]["InputTemplate"] for r in RULES.values() for target in r["Targets"]]
    texts = [*(alarm["AlarmDescription"] for alarm in ALARMS.values()), *rules]
    return {anchor for text in texts for anchor in re.findall(r"Runbook: \S+#([\w-]+)", text)}


RULES = STACK.of_type("AWS::Events::Rule")


def test_every_alert_has_a_runbook_for_the_first_hour() -> None:
    written = runbooks()
    assert len(linked()) == len(ALARMS) + len(RULES)
    for anchor in linked():
        steps = re.findall(r"^- \*\*(.+?)\*\*:", written[anchor], re.MULTILINE)
        assert steps == ["Symptom", "Look", "Act", "Verify"], anchor
        assert "first hour" in written[anchor], anchor


def test_thresholds_are_parameters_with_a_reason() -> None:
    for name in ("TrailRetentionDays", "TrailLogRetentionDays", "DeniedCalls", "ApiKeyValuesRead", "RefusedApiKeys"):
        assert re.search(r"[.;] ", STACK.template["Parameters"][name]["Description"]), name


# --- The way of an alert ----------------------------------------------------------------------------------------------


def test_topic_takes_alerts_of_this_account_over_tls_and_its_key_serves_them() -> None:
    topic = STACK.of_type("AWS::SNS::Topic")["SecurityTopic"]
    assert topic["KmsMasterKeyId"].endswith(":AlertsKey")
    (policy,) = STACK.of_type("AWS::SNS::TopicPolicy").values()
    *publish, tls = policy["PolicyDocument"]["Statement"]
    services = ["cloudwatch.amazonaws.com", "events.amazonaws.com"]
    assert [statement["Principal"]["Service"] for statement in publish] == services
    for statement in publish:
        assert (statement["Action"], statement["Resource"]) == ("sns:Publish", TOPIC)
    alarms, findings = publish
    assert alarms["Condition"] == {"StringEquals": {"aws:SourceAccount": PSEUDO["AWS::AccountId"]}}
    # "Key management" and "Troubleshooting" of AWS's guides of SNS and EventBridge: with one, no event arrives.
    assert "Condition" not in findings
    assert (tls["Effect"], tls["Principal"], tls["Resource"]) == ("Deny", "*", TOPIC)
    assert tls["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    key = STACK.of_type("AWS::KMS::Key")["AlertsKey"]
    assert key["EnableKeyRotation"] is True
    used = [statement for statement in key["KeyPolicy"]["Statement"] if "Service" in statement["Principal"]]
    assert [statement["Principal"]["Service"] for statement in used] == services
    for statement in used:
        assert set(statement["Action"]) == {"kms:Decrypt", "kms:GenerateDataKey*"}
        assert "Condition" not in statement, "EventBridge sends none of these, and a refusal here is silent"


def test_an_address_hears_of_it_and_what_does_not_arrive_is_kept() -> None:
    queue = STACK.resolve({"Fn::GetAtt": ["UndeliveredAlertsQueue", "Arn"]})
    (subscription,) = STACK.of_type("AWS::SNS::Subscription").values()
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("email", NAMES["AlarmEmail"])
    assert subscription["TopicArn"] == TOPIC
    assert subscription["RedrivePolicy"] == {"deadLetterTargetArn": queue}
    assert not governance(AlarmEmail="").of_type("AWS::SNS::Subscription")
    (policy,) = STACK.of_type("AWS::SQS::QueuePolicy").values()
    topic, rules = (s for s in policy["PolicyDocument"]["Statement"] if s["Effect"] == "Allow")
    assert topic["Principal"] == {"Service": "sns.amazonaws.com"}
    assert topic["Condition"] == {"ArnEquals": {"aws:SourceArn": TOPIC}}
    assert rules["Principal"] == {"Service": "events.amazonaws.com"}
    pattern = rules["Condition"]["ArnLike"]["aws:SourceArn"]
    assert pattern == f"arn:aws:events:us-east-1:{PSEUDO['AWS::AccountId']}:rule/{APPLICATION}-security-*"
    for rule in RULES.values():  # a generated name would begin with a shortened one
        assert fnmatch.fnmatchcase(rule["Name"], pattern.rpartition("/")[2])
        assert len(rule["Name"]) <= 64


def test_an_alert_that_is_kept_alarms_the_operators_too() -> None:
    """Visible or in somebody's hands; by the security topic alone it would not arrive when that is what fails."""
    result, *metrics = KEPT["Metrics"]
    assert result["Expression"] == "visible + taken"
    assert {metric["Id"]: metric["MetricStat"]["Metric"]["MetricName"] for metric in metrics} == {
        "visible": "ApproximateNumberOfMessagesVisible",
        "taken": "ApproximateNumberOfMessagesNotVisible",
    }
    queue = {"Name": "QueueName", "Value": "UndeliveredAlertsQueue"}
    for metric in metrics:
        assert metric["ReturnData"] is False
        assert metric["MetricStat"]["Stat"] == "Maximum"
        assert metric["MetricStat"]["Metric"]["Dimensions"] == [queue]
    assert (KEPT["ComparisonOperator"], KEPT["Threshold"]) == ("GreaterThanThreshold", 0)
    told = governance(OperatorsTopicArn="operators").of_type("AWS::CloudWatch::Alarm")["UndeliveredAlertsAlarm"]
    assert told["AlarmActions"] == told["OKActions"] == [TOPIC, "operators"]
    handed = load(REPOSITORY / "template.yaml")["Resources"]["GovernanceStack"]["Properties"]["Parameters"]
    assert handed["OperatorsTopicArn"] == {
        "Fn::If": ["HasObservability", {"Fn::GetAtt": ["ObservabilityStack", "Outputs.AlarmsTopicArn"]}, ""]
    }


@pytest.mark.parametrize("name", RULES)
def test_what_guardduty_and_config_find_goes_to_the_topic_or_is_kept(name: str) -> None:
    (target,) = RULES[name]["Targets"]
    assert target["Arn"] == TOPIC
    assert "RoleArn" not in target
    assert target["DeadLetterConfig"] == {"Arn": STACK.resolve({"Fn::GetAtt": ["UndeliveredAlertsQueue", "Arn"]})}
    paths, template = target["InputTransformer"].values()
    assert set(re.findall(r"<(\w+)>", template)) == set(paths)
    assert json.loads(template)  # one text, which EventBridge wants in quotes


def test_findings_of_medium_severity_and_broken_promises_are_told() -> None:
    patterns = {name.rpartition(".")[2]: rule["EventPattern"] for name, rule in RULES.items()}
    assert patterns["GuardDutyFindingRule"] == {
        "source": ["aws.guardduty"],
        "detail-type": ["GuardDuty Finding"],
        "detail": {"severity": [{"numeric": [">=", 4]}]},
    }
    assert patterns["PromiseBrokenRule"] == {
        "source": ["aws.config"],
        "detail-type": ["Config Rules Compliance Change"],
        "detail": {
            "configRuleName": [{"prefix": f"{APPLICATION}-"}],
            "newEvaluationResult": {"complianceType": ["NON_COMPLIANT"]},
        },
    }


def test_config_checks_what_the_documents_promise() -> None:
    rules = STACK.of_type("AWS::Config::ConfigRule")
    found = {
        (rule["Source"]["SourceIdentifier"], rule["Scope"]["ComplianceResourceId"], *rule["Scope"].values())[:2]
        for rule in rules.values()
    }
    assert found == {
        ("S3_BUCKET_PUBLIC_READ_PROHIBITED", "pictures"),
        ("S3_BUCKET_PUBLIC_WRITE_PROHIBITED", "pictures"),
        ("S3_BUCKET_SSL_REQUESTS_ONLY", "pictures"),
        ("S3_BUCKET_VERSIONING_ENABLED", "pictures"),
        ("DYNAMODB_PITR_ENABLED", "DetectionLogsTableName"),
    }
    (recorder,) = STACK.of_type("AWS::Config::ConfigurationRecorder").values()
    judged = {kind for rule in rules.values() for kind in rule["Scope"]["ComplianceResourceTypes"]}
    assert set(recorder["RecordingGroup"]["ResourceTypes"]) == judged
    assert recorder["RecordingGroup"]["AllSupported"] is False


# --- To look at -------------------------------------------------------------------------------------------------------


def widgets() -> list[dict[str, Any]]:
    (board,) = STACK.of_type("AWS::CloudWatch::Dashboard").values()
    found: list[dict[str, Any]] = json.loads(board["DashboardBody"])["widgets"]
    return found


def test_every_metric_that_alarms_is_on_the_dashboard() -> None:
    lines = [line for widget in widgets() for line in widget["properties"].get("metrics", [])]
    shown = {line[1] for line in lines if line[0] == NAMESPACE}
    assert shown == {alarm["MetricName"] for alarm in OF_LINES.values()}
    (queue,) = (line for line in lines if line[0] == "AWS/SQS")
    assert queue[:4] == ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", "UndeliveredAlertsQueue"]


def test_tables_of_the_dashboard_and_saved_queries_read_the_trail() -> None:
    logs = [widget["properties"]["query"] for widget in widgets() if widget["type"] == "log"]
    assert len(logs) == 2
    assert all(query.startswith(f"SOURCE '{GROUP}' | ") for query in logs)
    queries = STACK.of_type("AWS::Logs::QueryDefinition").values()
    assert all(query["LogGroupNames"] == [GROUP] for query in queries)
    assert {query["Name"].rpartition("/")[2] for query in queries} == {
        "who saw an image",
        "what somebody did",
        "who was denied what",
    }
    for query in [*logs, *(query["QueryString"] for query in queries)]:
        commands = [stage.split()[0] for stage in query.split(" | ")]
        assert set(commands) <= {"SOURCE", "fields", "filter", "stats", "sort", "limit"}, query
