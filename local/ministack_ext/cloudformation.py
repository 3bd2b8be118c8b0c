"""CloudFormation: what our template says about its table, bucket, topic and state machine takes effect.

And what the local AWS has no notion of is accepted, so that the template can be deployed whole.
"""

from __future__ import annotations

import contextvars
import json
from typing import Any

import botocore.session
import yaml
from botocore.serialize import create_serializer
from ministack.services import cloudformation, dynamodb, s3, sns
from ministack.services.cloudformation import changesets, engine, handlers, helpers, provisioners
from samtranslator.translator import transform

# Stored without effect; docs/architecture.md names them.
WITHOUT_EFFECT = (
    "AWS::Budgets::Budget",
    "AWS::CE::AnomalyMonitor",
    "AWS::CE::AnomalySubscription",
    "AWS::Logs::QueryDefinition",
    "AWS::XRay::Group",
    "AWS::XRay::SamplingRule",
)


def install() -> None:
    """Apply this module's patches."""
    _tables_get_ttl_and_recovery()
    _buckets_get_their_lifecycle()
    _buckets_get_their_tags()
    _topics_are_for_their_owner()
    _state_machines_are_written_in_yaml()
    _permissions_have_an_id()
    _types_without_effect_are_accepted()
    _references_have_something_to_refer_to()
    _sam_knows_the_parameters()
    _bucket_policies_can_be_imported()
    _resources_name_their_stack()


def _tables_get_ttl_and_recovery() -> None:
    """A table in a stack gets its TimeToLiveSpecification and PointInTimeRecoverySpecification.

    AWS: applies both. MiniStack: drops both, so that DescribeTimeToLive disagrees with the template.
    """
    handler = provisioners._RESOURCE_HANDLERS["AWS::DynamoDB::Table"]
    create, update = handler["create"], handler["update"]

    def create_with_settings(logical_id: str, properties: dict[str, Any], stack: str) -> Any:
        created = create(logical_id, properties, stack)
        _apply_table_settings(created[0], properties)
        return created

    def update_with_settings(
        table: str, old: dict[str, Any], properties: dict[str, Any], stack: str, *others: Any
    ) -> Any:
        generated = provisioners._physical_name(stack, others[0] if others else table, max_len=255)
        if "TableName" not in properties and table in dynamodb._tables and table != generated:
            # It was imported, and keeps its name. MiniStack: would make another of the name that it generates.
            old, properties = {**old, "TableName": table}, {**properties, "TableName": table}
        updated = update(table, old, properties, stack, *others)
        _apply_table_settings(updated[0], properties)
        return updated

    handler.update(create=create_with_settings, update=update_with_settings)


def _apply_table_settings(table: str, properties: dict[str, Any]) -> None:
    ttl = properties.get("TimeToLiveSpecification")
    if ttl:
        specification = {"AttributeName": ttl["AttributeName"], "Enabled": _is_true(ttl.get("Enabled", True))}
        dynamodb._update_ttl({"TableName": table, "TimeToLiveSpecification": specification})
    recovery = properties.get("PointInTimeRecoverySpecification")
    if recovery is not None:
        enabled = _is_true(recovery.get("PointInTimeRecoveryEnabled", False))
        dynamodb._update_continuous_backups(
            {"TableName": table, "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": enabled}}
        )


def _buckets_get_their_lifecycle() -> None:
    """A bucket in a stack gets its LifecycleConfiguration.

    AWS: applies it. MiniStack: drops it, and GetBucketLifecycleConfiguration finds none.
    """
    provisioners._S3_BUCKET_CONFIGURATIONS += (
        ("LifecycleConfiguration", _lifecycle_body, s3._put_bucket_lifecycle, s3._delete_bucket_lifecycle),
    )


def _lifecycle_body(lifecycle: dict[str, Any]) -> bytes:
    """The body that the SDK sends to PutBucketLifecycleConfiguration for a `LifecycleConfiguration` property."""
    rules = {"Rules": [_lifecycle_rule(rule) for rule in lifecycle["Rules"]]}
    operation = (
        botocore.session.get_session().get_service_model("s3").operation_model("PutBucketLifecycleConfiguration")
    )
    request = create_serializer("rest-xml").serialize_to_request(
        {"Bucket": "any", "LifecycleConfiguration": rules}, operation
    )
    body: bytes = request["body"]
    return body


def _lifecycle_rule(rule: dict[str, Any]) -> dict[str, Any]:
    """CloudFormation's spelling of a rule in the S3 API's: the parts that our template uses."""
    translated: dict[str, Any] = {"Status": rule["Status"], "Filter": {"Prefix": rule.get("Prefix", "")}}
    if "Id" in rule:
        translated["ID"] = rule["Id"]
    if "ExpirationInDays" in rule:
        translated["Expiration"] = {"Days": int(rule["ExpirationInDays"])}
    if _is_true(rule.get("ExpiredObjectDeleteMarker", False)):
        translated["Expiration"] = {"ExpiredObjectDeleteMarker": True}
    if "NoncurrentVersionExpiration" in rule:
        days = int(rule["NoncurrentVersionExpiration"]["NoncurrentDays"])
        translated["NoncurrentVersionExpiration"] = {"NoncurrentDays": days}
    if "AbortIncompleteMultipartUpload" in rule:
        days = int(rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"])
        translated["AbortIncompleteMultipartUpload"] = {"DaysAfterInitiation": days}
    if "Transitions" in rule:
        translated["Transitions"] = [
            {"Days": int(t["TransitionInDays"]), "StorageClass": t["StorageClass"]} for t in rule["Transitions"]
        ]
    return translated


def _buckets_get_their_tags() -> None:
    """A bucket in a stack gets its Tags, the stack's, and the three of CloudFormation.

    AWS: sets them, and they stay when the bucket outlives the stack. MiniStack: drops them for buckets, so that
    GetResources finds none.
    """
    provisioners._STACK_TAG_PROPERTY["AWS::S3::Bucket"] = ("Tags", "list")
    provisioners._S3_BUCKET_CONFIGURATIONS += (("Tags", _tags_body, s3._put_bucket_tagging, s3._delete_bucket_tagging),)


def _tags_body(tags: list[dict[str, str]]) -> bytes:
    """The body that the SDK sends to PutBucketTagging."""
    operation = botocore.session.get_session().get_service_model("s3").operation_model("PutBucketTagging")
    request = create_serializer("rest-xml").serialize_to_request(
        {"Bucket": "any", "Tagging": {"TagSet": [{"Key": tag["Key"], "Value": str(tag["Value"])} for tag in tags]}},
        operation,
    )
    body: bytes = request["body"]
    return body


def _topics_are_for_their_owner() -> None:
    """A topic in a stack that has no policy of its own lets nobody in but its account's services.

    AWS: its default policy has a condition, `AWS:SourceOwner`; who signs with a role needs sns:Publish.
    MiniStack: leaves the condition out (CreateTopic has it), so that everybody may publish.
    """
    handler = provisioners._RESOURCE_HANDLERS["AWS::SNS::Topic"]
    create = handler["create"]

    def create_for_owner(logical_id: str, properties: dict[str, Any], stack: str) -> Any:
        created = create(logical_id, properties, stack)
        attributes = sns._topics[created[0]]["attributes"]
        policy = json.loads(attributes["Policy"])
        for statement in policy["Statement"]:
            statement.setdefault("Condition", {"StringEquals": {"AWS:SourceOwner": attributes["Owner"]}})
        attributes["Policy"] = json.dumps(policy)
        return created

    handler["create"] = create_for_owner


def _state_machines_are_written_in_yaml() -> None:
    """A state machine's definition file may be YAML.

    AWS: CloudFormation takes JSON or YAML, and hands JSON to Step Functions.
    MiniStack: hands on the text as it is, and every execution fails because it is no JSON.
    """
    read_definition = provisioners._sfn_definition

    def read_definition_as_json(properties: dict[str, Any]) -> str:
        text: str = read_definition(properties)
        try:
            # JSON is YAML too, so that a definition in either language is checked here.
            return json.dumps(yaml.safe_load(text))
        except (yaml.YAMLError, TypeError) as error:
            raise ValueError(f"The state machine's definition is neither JSON nor YAML: {error}") from error

    provisioners._sfn_definition = read_definition_as_json


def _permissions_have_an_id() -> None:
    """A template may ask for the Id of a permission, so that something waits for it.

    AWS: Fn::GetAtt gives the id of the statement. MiniStack: knows no attribute.
    """
    handler = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Permission"]

    def with_id(write: Any) -> Any:
        def write_with_id(*arguments: Any) -> Any:
            statement, attributes = write(*arguments)
            return statement, {**(attributes or {}), "Id": statement}

        return write_with_id

    handler.update(create=with_id(handler["create"]), update=with_id(handler["update"]))


def _types_without_effect_are_accepted() -> None:
    """A template may have budgets, anomaly monitors, saved queries and X-Ray's groups and rules: nothing comes of them.

    AWS: has these services. MiniStack: refuses a template that has one of the types.
    """

    def create(logical_id: str, _properties: Any, stack: str) -> tuple[str, dict[str, str]]:
        return f"{stack}-{logical_id}", {}

    def update(physical_id: str, _old: Any, _new: Any, _stack: str) -> tuple[str, dict[str, str]]:
        return physical_id, {}

    def delete(_physical_id: str, _properties: Any) -> None:
        """There is nothing."""

    for kind in WITHOUT_EFFECT:
        provisioners._RESOURCE_HANDLERS[kind] = {"create": create, "update": update, "delete": delete}


def _references_have_something_to_refer_to() -> None:
    """A template that refers to a resource or parameter that it does not have is refused.

    AWS: so. MiniStack: takes the name for the value, so that a rule's target is the text `Workflow.Alias`.
    """
    validate = engine._validate_template_statics

    def validate_references(template: dict[str, Any]) -> None:
        validate(template)
        if template.get("Transform"):  # a macro may still add what is missing
            return
        known = {*(template.get("Resources") or {}), *(template.get("Parameters") or {})}
        for block in ("Resources", "Outputs"):
            named = {name for name, _ in engine._intrinsic_references(template.get(block) or {})}
            missing = sorted(name for name in named - known if not name.startswith("AWS::"))
            if missing:
                raise ValueError(
                    f"Template format error: Unresolved resource dependencies [{', '.join(missing)}] in the {block} "
                    "block of the template"
                )

    engine._validate_template_statics = validate_references


def _sam_knows_the_parameters() -> None:
    """SAM expands a template with the values of its parameters.

    AWS: so; what SAM decides by a parameter (DeploymentPreference.Enabled, say) follows its value.
    MiniStack: gives SAM no values, so that it decides by the defaults.
    """
    expand, apply = transform.transform, engine._apply_transforms
    values: contextvars.ContextVar[dict[str, str] | None] = contextvars.ContextVar("values", default=None)

    def expand_with_values(template: Any, parameters: dict[str, Any], *rest: Any, **more: Any) -> Any:
        return expand(template, {**(values.get() or {}), **parameters}, *rest, **more)

    def apply_with_values(template: Any, provided: Any = None, previous: Any = None) -> Any:
        token = values.set(engine._transform_parameters(template, provided, previous))
        try:
            return apply(template, provided, previous)
        finally:
            values.reset(token)

    transform.transform = expand_with_values
    for module in (engine, handlers, changesets):
        module._apply_transforms = apply_with_values


def _bucket_policies_can_be_imported() -> None:
    """A change set of the type IMPORT may take over the policy of a bucket.

    AWS: knows it by the bucket's name. MiniStack: imports buckets, and no policies.
    """
    kind = "AWS::S3::BucketPolicy"

    def problem(bucket: str) -> str | None:
        return None if bucket in s3._bucket_policies else changesets._IMPORT_NOT_FOUND.format(type=kind, value=bucket)

    def take_over(identifier: dict[str, str]) -> tuple[str, dict[str, str]]:
        return f"{identifier['Bucket']}-policy", {}  # as MiniStack calls those that it makes

    changesets._IMPORT_LOOKUPS[kind] = (("Bucket",), problem)
    provisioners._RESOURCE_HANDLERS[kind]["import"] = take_over


def _resources_name_their_stack() -> None:
    """DescribeStackResources takes the name of a resource and finds the stack that has it.

    AWS: so. MiniStack: asks for the stack's name.
    """
    describe = handlers._ACTION_HANDLERS["DescribeStackResources"]

    def describe_by_resource(params: dict[str, Any]) -> Any:
        name = helpers._p(params, "PhysicalResourceId")
        if not name or helpers._p(params, "StackName"):
            return describe(params)
        for stack in cloudformation._stacks.values():
            is_there = stack.get("StackStatus") != "DELETE_COMPLETE"
            names = {one.get("PhysicalResourceId") for one in stack.get("_resources", {}).values()}
            if is_there and name in names:
                return describe({**params, "StackName": [stack["StackId"]]})
        return helpers._error("ValidationError", f"Stack for {name} does not exist")

    handlers._ACTION_HANDLERS["DescribeStackResources"] = describe_by_resource


def _is_true(value: Any) -> bool:
    """A boolean of a template, which may have become text on its way through a parameter."""
    return str(value).lower() == "true"
