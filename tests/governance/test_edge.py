"""stacks/edge.yaml and stacks/outside_look.yaml: nobody reaches the API around the edge, and everybody through it.

The local AWS refuses the association of a web ACL and judges no request by one. So the resolved template is evaluated
here, with ways to weaken it, all of which must be noticed. What CloudFront and WAF really do, only AWS can show.
"""

from __future__ import annotations

import copy
import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

with warnings.catch_warnings():  # of the linter itself
    warnings.simplefilter("ignore")
    from cfnlint.api import ManualArgs, lint_file

from tests.governance.test_alerts import runbooks
from tests.governance.waf import Acl, Request
from tests.support.definitions import references, resources, source, templates, translated
from tests.support.paths import REPOSITORY
from tests.support.stacks import APPLICATION, NAMES, PSEUDO, Stack, governance
from web.app import FILES, RELEASE, lambda_handler

FILE, OUTSIDE_FILE = REPOSITORY / "stacks" / "edge.yaml", REPOSITORY / "stacks" / "outside_look.yaml"
HEADER = "x-pet-detector-edge"
GIVEN = {
    "ApplicationName": APPLICATION,
    "RunbookUrl": NAMES["RunbookUrl"],
    "ApiId": "abc123",
    "ApiStage": "prod",
    "Mode": "block",
    "AlertsTopicArn": "alerts",
}
OWN = {"Domain": "pets.example.com", "HostedZoneId": "Z123", "Countries": "DE,AT"}
API_STAGE = "arn:aws:apigateway:us-east-1::/restapis/abc123/stages/prod"


def edge(**parameters: str) -> Stack:
    """The edge as it is deployed with these parameters, in block mode unless they say otherwise."""
    return Stack(FILE, GIVEN | parameters)


# --- Around the edge --------------------------------------------------------------------------------------------------


def sent_header(stack: Stack) -> str:
    """The value that CloudFront adds: a reference to the secret, which stands for its value."""
    (distribution,) = stack.of_type("AWS::CloudFront::Distribution").values()
    (origin,) = distribution["DistributionConfig"]["Origins"]
    (header,) = origin["OriginCustomHeaders"]
    assert header["HeaderName"] == HEADER
    return str(header["HeaderValue"])


def walls(stack: Stack) -> list[Acl]:
    """The web ACLs that API Gateway asks about a request to the stage: one, if it is associated."""
    acls = {
        stack.resolve({"Fn::GetAtt": [name, "Arn"]}): acl for name, acl in stack.of_type("AWS::WAFv2::WebACL").items()
    }
    return [
        Acl(acls[association["WebACLArn"]], stack)
        for association in stack.of_type("AWS::WAFv2::WebACLAssociation").values()
        if association["ResourceArn"] == API_STAGE and acls[association["WebACLArn"]]["Scope"] == "REGIONAL"
    ]


def is_open_around(stack: Stack) -> bool:
    """Whether somebody who calls the API by its own address, with whatever header, gets in."""
    tries: list[dict[str, str]] = [{}, {HEADER: ""}, {HEADER: "guessed"}, {HEADER: sent_header(stack) + "x"}]
    tries += [{HEADER: "x" + sent_header(stack)}, {"x-another": sent_header(stack)}]
    paths = ("/health", "/upload", "/app/", "/people/images")
    return any(
        all(acl.lets_pass(Request(path, headers).at("prod")) for acl in walls(stack))
        for path in paths
        for headers in tries
    )


def test_nobody_reaches_the_api_around_the_edge() -> None:
    assert not is_open_around(edge())
    assert not is_open_around(edge(**OWN))


def test_counting_lets_everybody_pass() -> None:
    """So an owner sees what would be refused, and the parameter's description says what that means."""
    assert is_open_around(edge(Mode="count"))
    assert "around" in source()["Parameters"]["Edge"]["Description"]


Change = Callable[[dict[str, dict[str, Any]]], object]


def _acl(of: dict[str, dict[str, Any]]) -> Any:
    return of["ApiAcl"]["Properties"]


def _group(of: dict[str, dict[str, Any]]) -> Any:
    (rule,) = of["CameByTheEdge"]["Properties"]["Rules"]
    return rule


def _match(of: dict[str, dict[str, Any]]) -> Any:
    return _group(of)["Statement"]["NotStatement"]["Statement"]["ByteMatchStatement"]


ALLOWS = {
    "Name": "First",
    "Priority": -1,
    "Action": {"Allow": {}},
    "Statement": {
        "ByteMatchStatement": {
            "FieldToMatch": {"UriPath": {}},
            "PositionalConstraint": "ENDS_WITH",
            "SearchString": "/health",
            "TextTransformations": [{"Priority": 0, "Type": "NONE"}],
        }
    },
}
# Ways to open the way around. Of each the template above is spared.
MUTANTS: dict[str, Change] = {
    "association missing": lambda of: of.pop("ApiAclAssociation"),
    "association of another stage": lambda of: of["ApiAclAssociation"]["Properties"].update(
        ResourceArn=API_STAGE + "2"
    ),
    "association of another API": lambda of: of["ApiAclAssociation"]["Properties"].update(
        ResourceArn=API_STAGE.replace("abc123", "abc124")
    ),
    "association of the edge's web ACL": lambda of: of["ApiAclAssociation"]["Properties"].update(
        WebACLArn={"Fn::GetAtt": ["EdgeAcl", "Arn"]}
    ),
    "header rule missing, and the default allows": lambda of: _acl(of)["Rules"].pop(0),
    "header rule in count": lambda of: _group(of).update(Action={"Count": {}}),
    "header group in count": lambda of: _acl(of)["Rules"][0].update(OverrideAction={"Count": {}}),
    "header rule allows": lambda of: _group(of).update(Action={"Allow": {}}),
    "a rule before it allows": lambda of: _acl(of)["Rules"].append(ALLOWS),
    "another header": lambda of: _match(of)["FieldToMatch"]["SingleHeader"].update(Name="x-another"),
    "the end of the value is enough": lambda of: _match(of).update(PositionalConstraint="ENDS_WITH"),
    "a value that everybody knows": lambda of: _match(of).update(SearchString="guessed"),
    "without the header": lambda of: _group(of).update(
        Statement={"NotStatement": {"Statement": {"NotStatement": {"Statement": {"ByteMatchStatement": _match(of)}}}}}
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_way_around_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = copy.deepcopy(edge().template)
    MUTANTS[name](found["Resources"])
    monkeypatch.setattr("tests.support.stacks.load", lambda _: found)
    assert is_open_around(edge())


def test_what_the_edge_guards_is_the_one_stage_of_the_api() -> None:
    handed = source()["Resources"]["EdgeStack"]["Properties"]["Parameters"]
    assert (handed["ApiId"], handed["ApiStage"]) == ({"Ref": "PetDetectorApi"}, {"Ref": "Stage"})
    assert handed["Mode"] == {"Ref": "Edge"}
    assert list(resources("AWS::ApiGateway::RestApi")) == ["PetDetectorApi"]
    (stage,) = resources("AWS::ApiGateway::Stage").values()
    assert stage["StageName"] == {"Ref": "Stage"}
    # No other door leads to the functions: doors.yaml has every method and every permission.
    kinds = {resource["Type"] for content in templates().values() for resource in content["Resources"].values()}
    assert not kinds & {"AWS::Lambda::Url", "AWS::ApiGateway::DomainName", "AWS::ApiGatewayV2::Api"}


# --- Through the edge -------------------------------------------------------------------------------------------------

COMMON = "AWSManagedRulesCommonRuleSet"
LABEL = "awswaf:managed:aws:core-rule-set:"
ODD_BODY = {
    COMMON: {
        "SizeRestrictions_BODY": f"{LABEL}SizeRestrictions_Body",
        "CrossSiteScripting_BODY": f"{LABEL}CrossSiteScripting_Body",
    }
}


def passes_through(stack: Stack, request: Request) -> bool:
    """Whether a request that comes by the edge is let in by both web ACLs."""
    acls = stack.of_type("AWS::WAFv2::WebACL")
    arrived = request.at("prod", **{HEADER: sent_header(stack)})
    return Acl(acls["EdgeAcl"], stack).lets_pass(request) and all(acl.lets_pass(arrived) for acl in walls(stack))


@pytest.mark.parametrize("path", resources("AWS::ApiGateway::RestApi")["PetDetectorApi"]["Body"]["paths"])
def test_every_path_is_reached_through_the_edge(path: str) -> None:
    """A header of the caller's own of that name does not matter: CloudFront's stands in its place."""
    assert passes_through(edge(), Request(path, {HEADER: "guessed", "x-api-key": "key"}))


def test_a_page_that_names_many_pictures_passes() -> None:
    """Review names what it has, in more than the 2,048 bytes that AWS's rule lets pass."""
    long_query = {COMMON: {"SizeRestrictions_QUERYSTRING": f"{LABEL}SizeRestrictions_QueryString"}}
    assert passes_through(edge(), Request("/people/reviews", found=long_query))


def test_an_upload_of_megabytes_passes_and_no_other_odd_body() -> None:
    for path in ("/upload", "/people/upload"):
        assert passes_through(edge(), Request(path, found=ODD_BODY)), path
    for path in ("/people/reviews", "/people/policy", "/images"):
        assert not passes_through(edge(), Request(path, found=ODD_BODY)), path
        for rule, label in ODD_BODY[COMMON].items():
            assert not passes_through(edge(), Request(path, found={COMMON: {rule: label}})), (path, rule)


def test_uploads_are_spared_just_those_rules_that_their_bodies_break() -> None:
    uploads = Request("/upload", found={COMMON: {"GenericLFI_BODY": f"{LABEL}GenericLFI_Body"}})
    assert not passes_through(edge(), uploads)


GROUPS = ("AWSManagedRulesAmazonIpReputationList", "AWSManagedRulesKnownBadInputsRuleSet", COMMON)


@pytest.mark.parametrize("acl", ["EdgeAcl", "ApiAcl"])
@pytest.mark.parametrize("mode", ["count", "block"])
def test_both_web_acls_refuse_or_count_floods_and_what_aws_knows(acl: str, mode: str) -> None:
    stack = edge(Mode=mode)
    judge = Acl(stack.of_type("AWS::WAFv2::WebACL")[acl], stack)
    bad = [Request("/images", {HEADER: sent_header(stack)}, {group: {"Any": "any"}}) for group in GROUPS]
    flood = Request("/images", {HEADER: sent_header(stack)}, is_flood=True)
    assert [judge.lets_pass(request) for request in [*bad, flood]] == [mode == "count"] * 4


def test_one_address_may_make_what_a_key_may_and_more() -> None:
    """At the API the addresses are CloudFront's, each of which carries many people."""
    key = int(source()["Parameters"]["ApiRateLimit"]["Default"]) * 300
    (caller, cloudfront) = (
        next(rule["Statement"]["RateBasedStatement"] for rule in acl["Rules"] if rule["Name"] == "TooManyRequests")
        for acl in edge().of_type("AWS::WAFv2::WebACL").values()
    )
    assert key * 1.5 < caller["Limit"]
    assert 10 * caller["Limit"] <= cloudfront["Limit"]
    assert caller["EvaluationWindowSec"] == cloudfront["EvaluationWindowSec"] == 300


def test_nobody_is_refused_for_an_address_that_somebody_else_wrote() -> None:
    """CloudFront appends to the caller's X-Forwarded-For, and AWS WAF reads its first address.

    https://docs.aws.amazon.com/waf/latest/APIReference/API_ForwardedIPConfig.html
    """
    for acl in edge().of_type("AWS::WAFv2::WebACL").values():
        assert "forwarded" not in json.dumps(acl["Rules"]).lower()


def test_cloudfront_asks_its_web_acl() -> None:
    stack = edge()
    (distribution,) = stack.of_type("AWS::CloudFront::Distribution").values()
    assert distribution["DistributionConfig"]["WebACLId"] == stack.resolve({"Fn::GetAtt": ["EdgeAcl", "Arn"]})
    assert stack.of_type("AWS::WAFv2::WebACL")["EdgeAcl"]["Scope"] == "CLOUDFRONT"


# --- The distribution -------------------------------------------------------------------------------------------------

CACHING_DISABLED = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
ALL_BUT_HOST = "b689b0a8-53d0-40ab-baf2-68738e2966ac"


def config(**parameters: str) -> dict[str, Any]:
    """The distribution's."""
    (distribution,) = edge(**parameters).of_type("AWS::CloudFront::Distribution").values()
    found: dict[str, Any] = distribution["DistributionConfig"]
    return found


def test_nothing_of_the_api_is_kept_and_all_that_it_reads_is_passed_on() -> None:
    """By the policies of AWS that stand for that, with their fixed ids."""
    api = config()["DefaultCacheBehavior"]
    assert (api["CachePolicyId"], api["OriginRequestPolicyId"]) == (CACHING_DISABLED, ALL_BUT_HOST)
    verbs = {
        verb.upper()
        for path in resources("AWS::ApiGateway::RestApi")["PetDetectorApi"]["Body"]["paths"].values()
        for verb in path
    }
    assert verbs <= set(api["AllowedMethods"])
    assert api["ViewerProtocolPolicy"] == "https-only"
    kept = {error["ErrorCode"]: error["ErrorCachingMinTTL"] for error in config()["CustomErrorResponses"]}
    # CloudFront's list of errors that it keeps for 10 s by itself
    assert kept == dict.fromkeys([400, 403, 404, 405, 414, 500, 501, 502, 503, 504], 0)


def test_files_of_a_release_are_kept_long_and_the_page_is_asked_for_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """As PageApi says, between 0 and a year; its release is in the query, and part of what CloudFront keeps them by."""
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    (page,) = config()["CacheBehaviors"]
    assert page["PathPattern"] == "/app/*"
    (policy,) = edge().of_type("AWS::CloudFront::CachePolicy").values()
    cache = policy["CachePolicyConfig"]
    assert (cache["MinTTL"], cache["DefaultTTL"], cache["MaxTTL"]) == (0, 0, 31_536_000)
    key = cache["ParametersInCacheKeyAndForwardedToOrigin"]
    assert key["CookiesConfig"] == {"CookieBehavior": "none"}
    assert key["HeadersConfig"] == {"HeaderBehavior": "none"}, "the same for everybody"
    assert key["QueryStringsConfig"] == {"QueryStringBehavior": "whitelist", "QueryStrings": ["v"]}
    assert "OriginRequestPolicyId" not in page
    for name in FILES:
        asked = {"path": f"/app/{name}", "queryStringParameters": {"v": RELEASE}, "requestContext": {"stage": "prod"}}
        wanted = "no-cache" if name == "index.html" else f"public, max-age={cache['MaxTTL']}, immutable"
        assert lambda_handler(asked, None)["headers"]["Cache-Control"] == wanted, name


def test_the_page_keeps_its_own_policy_and_everything_else_gets_one() -> None:
    (policy,) = edge().of_type("AWS::CloudFront::ResponseHeadersPolicy").values()
    headers = policy["ResponseHeadersPolicyConfig"]["SecurityHeadersConfig"]
    assert {header["Override"] for header in headers.values()} == {False}
    assert headers["ContentSecurityPolicy"]["ContentSecurityPolicy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["StrictTransportSecurity"]["AccessControlMaxAgeSec"] >= 31_536_000
    found = config()
    for behavior in (found["DefaultCacheBehavior"], *found["CacheBehaviors"]):
        assert behavior["ResponseHeadersPolicyId"] == "SecurityHeaders"


def test_it_speaks_new_protocols_and_tls_and_asks_the_api_by_tls_alone() -> None:
    found = config(**OWN)
    assert (found["HttpVersion"], found["IPV6Enabled"]) == ("http2and3", True)
    assert found["ViewerCertificate"]["MinimumProtocolVersion"] == "TLSv1.2_2021"
    (origin,) = found["Origins"]
    assert (origin["DomainName"], origin["OriginPath"]) == ("abc123.execute-api.us-east-1.amazonaws.com", "/prod")
    asked = origin["CustomOriginConfig"]
    assert (asked["OriginProtocolPolicy"], asked["OriginSSLProtocols"]) == ("https-only", ["TLSv1.2"])
    assert asked["OriginReadTimeout"] > 29  # seconds, after which API Gateway gives up


def test_an_own_domain_has_its_certificate_and_both_records() -> None:
    stack = edge(**OWN)
    (certificate,) = stack.of_type("AWS::CertificateManager::Certificate").values()
    assert certificate["DomainValidationOptions"] == [
        {"DomainName": OWN["Domain"], "HostedZoneId": OWN["HostedZoneId"]}
    ]
    (records,) = stack.of_type("AWS::Route53::RecordSetGroup").values()
    assert [(record["Type"], record["Name"]) for record in records["RecordSets"]] == [
        ("A", OWN["Domain"]),
        ("AAAA", OWN["Domain"]),
    ]
    # https://docs.aws.amazon.com/Route53/latest/APIReference/API_AliasTarget.html: the zone of every distribution
    assert {record["AliasTarget"]["HostedZoneId"] for record in records["RecordSets"]} == {"Z2FDTNDATAQYW2"}
    assert config(**OWN)["Aliases"] == [OWN["Domain"]]
    assert stack.resolve(stack.template["Outputs"]["DomainName"]["Value"]) == OWN["Domain"]
    without = edge(Domain="d111111abcdef8.cloudfront.net")
    assert not without.of_type("AWS::CertificateManager::Certificate")
    assert not without.of_type("AWS::Route53::RecordSetGroup")
    assert not {"Aliases", "ViewerCertificate"} & config(Domain="d111111abcdef8.cloudfront.net").keys()


def test_countries_are_those_of_the_list_or_all() -> None:
    assert config(**OWN)["Restrictions"]["GeoRestriction"] == {
        "RestrictionType": "whitelist",
        "Locations": ["DE", "AT"],
    }
    assert config()["Restrictions"]["GeoRestriction"] == {"RestrictionType": "none"}
    pattern = re.compile(source()["Parameters"]["EdgeCountries"]["AllowedPattern"])
    assert all(map(pattern.search, ("", "DE", "DE,AT")))
    assert not any(map(pattern.search, ("de", "DE,", "Germany", "DE AT")))


# --- The page's address -----------------------------------------------------------------------------------------------


def test_the_sign_in_the_bucket_and_the_outputs_name_the_edge_when_it_is_used() -> None:
    template = source()
    page, origin = {"Fn::Sub": "https://${EdgeDomain}/app/"}, {"Fn::Sub": "https://${EdgeDomain}"}
    client = template["Resources"]["PageClient"]["Properties"]
    callback, while_counting = client["CallbackURLs"]
    assert client["LogoutURLs"] == client["CallbackURLs"]
    assert callback["Fn::If"][:2] == ["UsesEdge", page]
    assert template["Outputs"]["PageUrl"]["Value"] == callback
    assert template["Outputs"]["ApiUrl"]["Value"]["Fn::If"][:2] == ["UsesEdge", origin]
    (rule,) = template["Resources"]["ImageBucket"]["Properties"]["CorsConfiguration"]["CorsRules"]
    assert rule["AllowedOrigins"][1]["Fn::If"][:2] == ["UsesEdge", origin]
    told = template["Resources"]["ReviewKeeperSchedule"]["Properties"]["Target"]["Input"]["Fn::If"][2]["Fn::If"]
    assert told[:2] == ["UsesEdge", {"Fn::Sub": '{"pageAddress": "https://${EdgeDomain}/app/"}'}]
    # Whoever still has the page of the API's own address goes on there until that is closed: verdicts wait in its tabs.
    assert while_counting == {"Fn::If": ["CountsAtEdge", callback["Fn::If"][2], {"Ref": "AWS::NoValue"}]}
    assert rule["AllowedOrigins"][2] == {
        "Fn::If": ["CountsAtEdge", rule["AllowedOrigins"][1]["Fn::If"][2], {"Ref": "AWS::NoValue"}]
    }
    assert template["Conditions"]["CountsAtEdge"] == {
        "Fn::And": [{"Condition": "UsesEdge"}, {"Fn::Equals": [{"Ref": "Edge"}, "count"]}]
    }


# --- One way, and off -------------------------------------------------------------------------------------------------


def test_nothing_but_outputs_and_the_outside_look_needs_the_edge() -> None:
    rest = translated()
    edge_, look = rest["Resources"].pop("EdgeStack"), rest["Resources"].pop("OutsideLookStack")
    assert (edge_["Condition"], look["Condition"]) == ("HasEdge", "LooksFromOutside")
    named = {name for name, output in rest["Outputs"].items() if "EdgeStack" in references(output)}
    assert named == {"EdgeDomainName"}
    assert rest["Outputs"]["EdgeDomainName"]["Condition"] == "HasEdge"
    assert not {"EdgeStack", "OutsideLookStack"} & references(rest["Resources"])


@pytest.mark.parametrize(("logical_id", "file"), [("EdgeStack", FILE), ("OutsideLookStack", OUTSIDE_FILE)])
def test_root_hands_in_all_that_the_stack_asks_for(logical_id: str, file: Path) -> None:
    handed = source()["Resources"][logical_id]["Properties"]["Parameters"]
    declared = Stack(file, GIVEN if file == FILE else {}).template["Parameters"]
    assert handed.keys() <= declared.keys()
    assert declared.keys() - handed.keys() <= {"RequestsPerAddress", "BlockedRequests"}
    for name in declared.keys() - handed.keys():
        assert re.search(r"[.;] ", declared[name]["Description"]), f"{name} has a default, and its reason"


def test_alerts_go_to_the_security_topic_or_else_to_the_operators() -> None:
    topic = source()["Resources"]["EdgeStack"]["Properties"]["Parameters"]["AlertsTopicArn"]
    assert topic == {
        "Fn::If": [
            "HasGovernance",
            {"Fn::GetAtt": ["GovernanceStack", "Outputs.SecurityTopicArn"]},
            {"Fn::If": ["HasObservability", {"Fn::GetAtt": ["ObservabilityStack", "Outputs.AlarmsTopicArn"]}, ""]},
        ]
    }


@pytest.mark.parametrize("file", [FILE, OUTSIDE_FILE], ids=lambda file: file.stem)
def test_stack_is_clean(file: Path) -> None:
    with warnings.catch_warnings():  # of the linter itself
        warnings.simplefilter("ignore")
        found = lint_file(file, config=ManualArgs(regions=["us-east-1"]))
    assert [f"{match.rule.id} {match.message}" for match in found] == []


# --- Logs and alarms --------------------------------------------------------------------------------------------------


def test_logs_hold_no_key_no_token_and_no_code_of_a_sign_in() -> None:
    stack = edge()
    (delivery,) = stack.of_type("AWS::Logs::Delivery").values()
    fields = set(delivery["RecordFields"])
    assert not fields & {"cs-uri-query", "cs(Cookie)", "cs(Referer)", "cs-headers"}
    assert {"c-ip", "cs-uri-stem", "sc-status"} <= fields
    for name, acl in stack.of_type("AWS::WAFv2::WebACL").items():
        hidden = [one["Field"] for one in acl["DataProtectionConfig"]["DataProtections"]]
        headers = {key for field in hidden for key in field.get("FieldKeys", [])}
        assert headers == {"authorization", "x-api-key", HEADER}, name
        assert {"FieldType": "QUERY_STRING"} in hidden, name
    logged = {log["ResourceArn"] for log in stack.of_type("AWS::WAFv2::LoggingConfiguration").values()}
    assert logged == {stack.resolve({"Fn::GetAtt": [name, "Arn"]}) for name in ("EdgeAcl", "ApiAcl")}


@pytest.mark.parametrize(("mode", "kept"), [("block", {"BLOCK"}), ("count", {"BLOCK", "COUNT"})])
def test_log_of_the_web_acls_has_what_is_refused_or_would_be(mode: str, kept: set[str]) -> None:
    for log in edge(Mode=mode).of_type("AWS::WAFv2::LoggingConfiguration").values():
        (only,) = log["LoggingFilter"]["Filters"]
        assert (log["LoggingFilter"]["DefaultBehavior"], only["Behavior"]) == ("DROP", "KEEP")
        assert {condition["ActionCondition"]["Action"] for condition in only["Conditions"]} == kept


def test_a_surge_of_refusals_alarms_by_the_metrics_that_the_web_acls_write() -> None:
    stack = edge()
    alarm = stack.of_type("AWS::CloudWatch::Alarm")["BlockedSurgeAlarm"]
    result, *metrics = alarm["Metrics"]
    assert result["Expression"] == "FILL(edge, 0) + FILL(api, 0)"
    watched = [
        {one["Name"]: one["Value"] for one in metric["MetricStat"]["Metric"]["Dimensions"]} for metric in metrics
    ]
    names = {name: acl["VisibilityConfig"]["MetricName"] for name, acl in stack.of_type("AWS::WAFv2::WebACL").items()}
    # The metrics of a distribution have no dimension Region: AWS WAF metrics and dimensions, in its developer guide.
    assert watched == [
        {"WebACL": names["EdgeAcl"], "Rule": "ALL"},
        {"WebACL": names["ApiAcl"], "Rule": "ALL", "Region": PSEUDO["AWS::Region"]},
    ]
    assert {metric["MetricStat"]["Metric"]["MetricName"] for metric in metrics} == {"BlockedRequests"}
    (board,) = governance().of_type("AWS::CloudWatch::Dashboard").values()
    lines = [
        line
        for widget in json.loads(board["DashboardBody"])["widgets"]
        for line in widget["properties"].get("metrics", [])
    ]
    shown = [
        dict(zip(line[2:-1:2], line[3:-1:2], strict=True))
        for line in lines
        if line[:2] == ["AWS/WAFV2", "BlockedRequests"]
    ]
    assert shown == watched
    assert all(
        acl["VisibilityConfig"]["CloudWatchMetricsEnabled"] for acl in stack.of_type("AWS::WAFv2::WebACL").values()
    )


def test_the_application_is_looked_at_from_outside() -> None:
    stack = Stack(OUTSIDE_FILE, {"HostName": "pets.example.com", "HealthPath": "/health", "PagesTopicArn": "pages"})
    (check,) = stack.of_type("AWS::Route53::HealthCheck").values()
    asked = check["HealthCheckConfig"]
    assert (asked["Type"], asked["FullyQualifiedDomainName"], asked["ResourcePath"]) == (
        "HTTPS",
        "pets.example.com",
        "/health",
    )
    (alarm,) = stack.of_type("AWS::CloudWatch::Alarm").values()
    assert (alarm["Namespace"], alarm["MetricName"]) == ("AWS/Route53", "HealthCheckStatus")
    assert alarm["Dimensions"] == [{"Name": "HealthCheckId", "Value": "HealthCheck"}]
    # 1 while healthy; nobody who looks is as bad as nobody who answers
    assert (alarm["Statistic"], alarm["Threshold"], alarm["ComparisonOperator"]) == ("Minimum", 1, "LessThanThreshold")
    assert alarm["TreatMissingData"] == "breaching"
    handed = source()["Resources"]["OutsideLookStack"]["Properties"]["Parameters"]
    assert handed["HostName"]["Fn::If"][:2] == ["HasEdge", {"Fn::GetAtt": ["EdgeStack", "Outputs.DomainName"]}]
    assert handed["HealthPath"]["Fn::If"] == ["HasEdge", "/health", {"Fn::Sub": "/${Stage}/health"}]


ALARMS = {
    **edge().of_type("AWS::CloudWatch::Alarm"),
    **Stack(
        OUTSIDE_FILE,
        {"ApplicationName": APPLICATION, "RunbookUrl": NAMES["RunbookUrl"], "PagesTopicArn": "alerts"},
    ).of_type("AWS::CloudWatch::Alarm"),
}


@pytest.mark.parametrize("name", ALARMS)
def test_alarm_tells_its_topic_and_has_a_runbook(name: str) -> None:
    alarm = ALARMS[name]
    assert alarm["AlarmActions"] == alarm["OKActions"] == ["alerts"]
    # `-security-` is for alarms that a deployer must not touch: tests/governance/test_access.py
    assert re.match(rf"{APPLICATION}-(edge|outside)-", alarm["AlarmName"])
    sentence, _, link = alarm["AlarmDescription"].partition(" Runbook: ")
    assert sentence.endswith(".")
    anchor = link.removeprefix(f"{NAMES['RunbookUrl']}#")
    assert re.findall(r"^- \*\*(.+?)\*\*:", runbooks()[anchor], re.MULTILINE) == ["Symptom", "Look", "Act", "Verify"]
