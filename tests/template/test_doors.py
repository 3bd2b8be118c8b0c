"""Whatever can grant, lend, export or inject is named once, with its value and a reason: doors.yaml."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.definitions import ROOT, references, templates, words

from . import doors

ROOT_OF_THE_ACCOUNT = {"AWS": {"Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"}}


def test_doors_are_as_they_are_named() -> None:
    assert doors.faults(templates()) == []


def test_every_door_has_a_reason() -> None:
    for reason, named in doors.table().items():
        assert len(reason) > 20, reason
        assert named, reason


def test_every_template_is_asked() -> None:
    assert templates().keys() >= {ROOT, "observability", "dashboards", "dead_letters", "burn_rates"}


def test_every_type_is_used() -> None:
    """A type that is allowed and not used would let a new resource pass unnoticed."""
    used = {resource["Type"] for content in templates().values() for resource in content["Resources"].values()}
    assert set(doors.TYPES) == used


def test_no_stack_grants_more_than_named_actions_to_its_own_account() -> None:
    """The roles of template.yaml have their own tests; here are policies of every kind, at every depth of a stack."""
    for name, content in templates().items():
        for statement in _statements(_without_boundaries(content["Resources"])):
            if statement["Effect"] == "Deny":
                continue
            actions = set(words(statement.get("Action", "NotAction")))
            of_the_account = statement.get("Principal") == ROOT_OF_THE_ACCOUNT
            # The key policy's statement without which IAM policies would not count for the key.
            assert not any(action.endswith((":*", "NotAction")) or action == "*" for action in actions) or (
                of_the_account and actions == {"kms:*"}
            ), f"{name}: {statement}"
            principal = statement.get("Principal", {"Service": ""})
            if principal == "*":  # of an endpoint: the condition says who
                assert name == "network", f"{name}: {statement}"
                assert statement["Condition"]["ArnLike"]["aws:PrincipalArn"], f"{name}: {statement}"
                continue
            # The pipeline's jobs come by GitHub's signature: tests/governance/test_delivery.py asks whose.
            kinds = {"Service"} if name != "delivery" else {"Federated", "Service"}
            assert of_the_account or (len(principal) == 1 and set(principal) <= kinds), f"{name}: {statement}"


def _without_boundaries(resources: dict[str, Any]) -> dict[str, Any]:
    """Without the policies that are a boundary and nothing else: they grant nothing, whatever they name."""
    roles = [resource["Properties"] for resource in resources.values() if resource["Type"] == "AWS::IAM::Role"]
    bounding = {name for role in roles for name in references(role.get("PermissionsBoundary", {}))}
    attached = {name for role in roles for name in references(role.get("ManagedPolicyArns", []))}
    return {name: resource for name, resource in resources.items() if name not in bounding - attached}


def _statements(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if "Effect" in value and value["Effect"] in ("Allow", "Deny"):
            yield value
        for child in value.values():
            yield from _statements(child)
    elif isinstance(value, list):
        for child in value:
            yield from _statements(child)


@pytest.mark.parametrize("door", doors.named())
def test_door_that_is_not_named_or_has_another_value_fails(door: str) -> None:
    """Else the list would prove nothing about this one."""
    known = doors.named()
    del known[door]
    assert doors.faults(templates(), known)
    assert doors.faults(templates(), known | {door: ["another"] if "::" in door else "another"})
