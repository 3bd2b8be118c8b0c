"""A release: what makes a version, who names the alias, and that old versions can still be run.

SAM publishes a version of a function when its template changes, and does not see that a parameter has another value. So
the description of each version holds the parameters that the function's configuration depends on. Without one of them,
a changed parameter would have no effect; with one too many, CloudFormation would ask Lambda for a version of what has
not changed, and the deployment would fail.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from graphlib import TopologicalSorter
from typing import Any

import pytest

from tests.support.definitions import machines, references, resources, source, translate, translated

# Of AWS::Lambda::Function: what a version holds. Not in it: the role's policies and boundary, tags, concurrency.
CONFIGURATION = {
    *("Architectures", "DeadLetterConfig", "Description", "Environment", "EphemeralStorage", "FileSystemConfigs"),
    *("Handler", "KmsKeyArn", "Layers", "LoggingConfig", "MemorySize", "PackageType", "Runtime", "SnapStart"),
    *("Timeout", "TracingConfig", "VpcConfig"),
}
OUTSIDE = {"Code", "CodeSigningConfigArn", "FunctionName", "ReservedConcurrentExecutions", "Role", "Tags"}
FUNCTIONS = resources("AWS::Lambda::Function")
each_function = pytest.mark.parametrize("function", FUNCTIONS)


def parameters_of(value: Any, template: dict[str, Any]) -> set[str]:
    """The parameters that a value depends on: it names them, or a condition that decides about it does."""
    found: set[str] = references(value) & template["Parameters"].keys()
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "Fn::Sub" and isinstance(item, list):
                found |= {name for name in re.findall(r"\$\{(\w+)\}", item[0]) if name in template["Parameters"]}
            if key == "Fn::If" or (key == "Condition" and isinstance(item, str)):
                found |= parameters_of(template["Conditions"][item if isinstance(item, str) else item[0]], template)
            found |= parameters_of(item, template)
    if isinstance(value, list):
        found |= set().union(*(parameters_of(item, template) for item in value)) if value else set()
    return found


@each_function
def test_no_right_goes_with_a_parameter_of_which_a_version_is_made(function: str) -> None:
    """All versions have one role. What the one before still does (images that wait, most of them during a gradual
    shift, all after a rollback), it must still be allowed.
    """
    template = translated()
    role = template["Resources"][FUNCTIONS[function]["Role"]["Fn::GetAtt"][0]]["Properties"]
    of_rights = parameters_of(_choices(role.get("Policies")), template)
    assert not of_rights & parameters_of(versions(template)[function]["Properties"]["Description"], template)


def _choices(value: Any) -> list[Any]:
    """The `Fn::If` in a value, without what they choose from."""
    if isinstance(value, dict):
        own = [{"Fn::If": value["Fn::If"][:1]}] if "Fn::If" in value else []
        return own + [found for item in value.values() for found in _choices(item)]
    return [found for item in value for found in _choices(item)] if isinstance(value, list) else []


def versions(template: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The version of each function: the resource, by the function's logical id."""
    found = [resource for resource in template["Resources"].values() if resource["Type"] == "AWS::Lambda::Version"]
    return {resource["Properties"]["FunctionName"]["Ref"]: resource for resource in found}


def wrong(template: dict[str, Any]) -> dict[str, tuple[set[str], set[str]]]:
    """Functions whose version's description lacks parameters, or has too many: both, by the function."""
    found = {}
    for function, version in versions(template).items():
        properties = template["Resources"][function]["Properties"]
        needed = parameters_of({key: properties.get(key) for key in CONFIGURATION}, template)
        said = parameters_of(version["Properties"].get("Description"), template)
        if needed != said:
            found[function] = (needed - said, said - needed)
    return found


def test_every_property_of_a_function_is_known_to_be_part_of_a_version_or_not() -> None:
    assert set().union(*FUNCTIONS.values()) <= CONFIGURATION | OUTSIDE


def test_each_version_is_described_by_just_the_parameters_that_its_function_depends_on() -> None:
    assert wrong(translated()) == {}, "function: (missing, superfluous) in VersionDescription"


def _edit(change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    template = source()
    change(template)
    return translate(template)


def _described(function: str, change: Callable[[str], str]) -> dict[str, Any]:
    def edit(template: dict[str, Any]) -> None:
        properties = template["Resources"][function]["Properties"]
        properties["VersionDescription"]["Fn::Sub"] = change(properties["VersionDescription"]["Fn::Sub"])

    return _edit(edit)


def _with(function: str, **properties: Any) -> dict[str, Any]:
    return _edit(lambda template: template["Resources"][function]["Properties"].update(properties))


def _with_global(**properties: Any) -> dict[str, Any]:
    return _edit(lambda template: template["Globals"]["Function"].update(properties))


def test_a_parameter_too_few_or_too_many_is_found() -> None:
    less = _described("FileManagerFunction", lambda text: text.replace(" ${PictureMetadata}", ""))
    more = _described("FileManagerFunction", lambda text: f"{text} ${{LogRetentionDays}}")
    assert wrong(less) == {"FileManagerFunction": ({"PictureMetadata"}, set())}
    assert wrong(more) == {"FileManagerFunction": (set(), {"LogRetentionDays"})}


def test_parameters_are_found_through_globals_conditions_and_texts() -> None:
    found = wrong(_with_global(EphemeralStorage={"Size": {"Ref": "NoticeBurst"}}))
    holding = {"FailureRecorderFunction", "NotificationServiceFunction", "ReconcilerFunction"}
    assert found.keys() == FUNCTIONS.keys() - holding
    assert all(pair == ({"NoticeBurst"}, set()) for pair in found.values())
    through_a_condition = {"Fn::If": ["HasDataKey", 20, 30]}
    assert wrong(_with("UploadApiFunction", Timeout=through_a_condition)) == {"UploadApiFunction": ({"DataKey"}, set())}
    in_a_text = {
        "Variables": {
            "ALLOWED_ORIGIN": {"Fn::Sub": ["${AllowedOrigin}${OverdueMinutes}${X}", {"X": {"Ref": "ApiRateLimit"}}]}
        }
    }
    assert wrong(_with("UploadApiFunction", Environment=in_a_text)) == {
        "UploadApiFunction": ({"OverdueMinutes", "ApiRateLimit"}, set())
    }


def test_what_makes_no_version_is_not_asked_for() -> None:
    other = {"Ref": "LogRetentionDays"}
    assert wrong(_with("FileManagerFunction", ReservedConcurrentExecutions=other, Tags={"Days": other})) == {}


@each_function
def test_old_versions_stay_when_a_new_one_replaces_them(function: str) -> None:
    """Executions that began before a release still run them, and `petdetect rollback` goes back to them."""
    version = versions(translated())[function]
    assert (version["DeletionPolicy"], version["UpdateReplacePolicy"]) == ("Retain", "Retain")


def test_old_versions_of_the_workflow_stay() -> None:
    (version,) = (
        r for r in translated()["Resources"].values() if r["Type"] == "AWS::StepFunctions::StateMachineVersion"
    )
    assert (version["DeletionPolicy"], version["UpdateReplacePolicy"]) == ("Retain", "Retain")
    assert version["Properties"]["StateMachineArn"] == {"Ref": "ImageWorkflow"}
    # Any change of the machine is a new revision, and so a version: also one of a parameter in its definition.
    assert version["Properties"]["StateMachineRevisionId"] == {
        "Fn::GetAtt": ["ImageWorkflow", "StateMachineRevisionId"]
    }


def test_each_function_and_the_workflow_have_the_alias_live() -> None:
    for kind, name in (("AWS::Lambda::Alias", "FunctionName"), ("AWS::StepFunctions::StateMachineAlias", None)):
        found = resources(kind)
        assert {alias["Name"] for alias in found.values()} == {"live"}, kind
        if name:
            assert {alias[name]["Ref"] for alias in found.values()} == set(FUNCTIONS)
    assert len(found) == 1


# --- Who names what ---------------------------------------------------------------------------------------------------

ALIAS_OF_THE_WORKFLOW = ({"Ref": "ImageWorkflowAliaslive"}, {"Fn::Sub": "${ImageWorkflow}:live"})


def test_uploads_the_reconciler_and_operators_start_the_alias() -> None:
    """The machine itself runs its latest revision: one that is not live yet, or that was rolled back."""
    (target,) = resources("AWS::Events::Rule")["ImageUploadedRule"]["Targets"]
    assert target["Arn"] in ALIAS_OF_THE_WORKFLOW
    variables = FUNCTIONS["ReconcilerFunction"]["Environment"]["Variables"].values()
    named = [value for value in variables if "ImageWorkflow" in str(value)]
    assert named
    assert all(value in ALIAS_OF_THE_WORKFLOW for value in named)
    assert translated()["Outputs"]["LiveAliasArn"]["Value"] in ALIAS_OF_THE_WORKFLOW


def starters() -> dict[str, dict[str, Any]]:
    """Statements of roles that allow to start the image workflow, by the role's logical id."""
    return {
        role: statement
        for role, properties in resources("AWS::IAM::Role").items()
        for policy in properties.get("Policies", [])
        for statement in policy["PolicyDocument"]["Statement"]
        if "states:StartExecution" in statement["Action"] and "ImageWorkflow" in references(statement["Resource"])
    }


def test_whoever_starts_the_workflow_may_start_its_alias_alone() -> None:
    assert set(starters()) == {"ReconcilerFunctionRole", "StartLiveRole"}
    for role, statement in starters().items():
        assert statement["Resource"] == {"Ref": "ImageWorkflow"}, role  # IAM is asked for the machine's ARN
        assert list(statement["Condition"].values()) == [{"states:StateMachineQualifier": ["live"]}], role


def test_definitions_name_versions_of_functions() -> None:
    """An execution runs what its version names to its end: whatever is deployed meanwhile."""
    for machine in machines():
        named = {key: value for key, value in machine.substitutions.items() if key in FUNCTIONS}
        assert named == {key: {"Ref": f"{key}.Version"} for key in named}, machine.name
        for key, value in machine.substitutions.items():
            assert key in named or not references(value) & FUNCTIONS.keys(), f"{machine.name}: {key}"
        assert "arn:aws:lambda" not in machine.text
        assert named, machine.name
    for translated_machine in resources("AWS::StepFunctions::StateMachine").values():
        for key, value in translated_machine["DefinitionSubstitutions"].items():
            if key in FUNCTIONS:
                assert translated()["Resources"][value["Ref"]] == versions(translated())[key]


@pytest.mark.parametrize("machine", [machine.name for machine in machines()])
def test_role_of_a_machine_may_run_every_version_that_an_execution_may_have_begun_with(machine: str) -> None:
    """A role is not versioned: without them, executions in flight and redriven ones would be denied."""
    (found,) = (each for each in machines() if each.name == machine)
    (policy,) = resources("AWS::IAM::Role")[f"{machine}Role"]["Policies"]
    (invoking,) = (s for s in policy["PolicyDocument"]["Statement"] if "lambda:InvokeFunction" in s["Action"])
    for function in found.substitutions.keys() & FUNCTIONS.keys():
        assert {"Fn::Sub": f"${{{function}.Arn}}:*"} in invoking["Resource"], function
        # Executions that began before the machines named versions.
        assert {"Fn::GetAtt": [function, "Arn"]} in invoking["Resource"], function
    assert not any("Alias" in str(arn) or ".Version" in str(arn) for arn in invoking["Resource"])


def test_calls_of_functions_from_outside_name_the_alias() -> None:
    """Else a release would change them at once, and nothing could bring them back."""
    aliases = {name: alias["FunctionName"]["Ref"] for name, alias in resources("AWS::Lambda::Alias").items()}
    arns = [mapping["FunctionName"] for mapping in resources("AWS::Lambda::EventSourceMapping").values()]
    arns += [schedule["Target"]["Arn"] for schedule in resources("AWS::Scheduler::Schedule").values()]
    arns += [
        t["Arn"] for rule in resources("AWS::Events::Rule").values() for t in rule["Targets"] if "RoleArn" not in t
    ]
    assert len(arns) == 6
    for arn in arns:
        assert arn["Ref"] in aliases
    paths = resources("AWS::ApiGateway::RestApi")["PetDetectorApi"]["Body"]["paths"].values()
    integrations = [
        m["x-amazon-apigateway-integration"] for path in paths for verb, m in path.items() if verb != "options"
    ]
    called = [re.findall(r"\$\{(\w+)\}/invocations$", each["uri"]["Fn::Sub"]) for each in integrations]
    assert len(called) == 18
    assert {name for names in called for name in names} <= aliases.keys()
    assert all(called)
    for permission in resources("AWS::Lambda::Permission").values():
        assert permission["FunctionName"]["Ref"] in aliases


def named_in(value: Any) -> set[str]:
    """What a value of a translated template names by Ref, GetAtt or Sub: unlike `references`, aliases as aliases."""
    if isinstance(value, list):
        return set().union(*map(named_in, value))
    if not isinstance(value, dict):
        return set()
    found = set().union(*map(named_in, value.values()))
    for key, item in value.items():
        if key in ("Ref", "Fn::GetAtt"):
            found.add(item[0] if isinstance(item, list) else item.partition(".")[0])
        elif key == "Fn::Sub":
            text = item[0] if isinstance(item, list) else item
            found |= {name.partition(".")[0] for name in re.findall(r"\$\{([\w.]+)\}", text)}
        elif key == "DependsOn":
            found |= {item} if isinstance(item, str) else set(item)
    return found


def test_what_shifts_gradually_goes_in_no_circle() -> None:
    """CloudFormation refuses a circle; cfn-lint does not look at UpdatePolicy, through which an alias needs alarms."""
    template = source()
    template["Parameters"]["ReleaseShift"]["Default"] = "Canary10Percent10Minutes"
    made = translate(template)["Resources"]
    needs = {name: named_in(resource) & made.keys() for name, resource in made.items()}
    assert "ObservabilityStack" in needs["UploadApiFunctionDeploymentGroup"]
    assert "UploadApiFunctionDeploymentGroup" in needs["UploadApiFunctionAliaslive"]
    TopologicalSorter(needs).prepare()  # raises CycleError, with the circle
