"""The deployed application that a command is about: the stack of one environment, on AWS or on the local AWS."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from ops import definitions
from ops.errors import OperatorError
from pet_detector.aws import clients
from pet_detector.aws.errors import code_of
from pet_detector.use_cases.reconciler import Resources

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.type_defs import StackTypeDef

ENVIRONMENTS = ("local", "dev", "staging", "prod", "recovery")  # of samconfig.toml
LOCAL = "local"
# prod, and where it goes on when its region is lost.
GUARDED = ("prod", "recovery")
STACK_PREFIX = "serverlessapp-pet-detector-"
PULL_REQUEST = "pr-"  # and its number: the environment of a pull request, deployed like dev
_PULL_REQUEST = re.compile(rf"{PULL_REQUEST}[1-9][0-9]{{0,6}}")

REGION = "us-east-1"
OTHER_REGIONS = {"recovery": "us-west-2"}  # environments that are not in REGION

# For the services that only operators call; `pet_detector.aws.clients` makes the clients of the others. A person waits:
# give up before they do, but not at the first failed request.
CLIENT_CONFIG = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 3})


def is_environment(name: str) -> bool:
    """Whether a stack can be named so: an environment of samconfig.toml, or `pr-` and the number of a pull request."""
    return name in ENVIRONMENTS or _PULL_REQUEST.fullmatch(name) is not None


def settings_of(name: str) -> str:
    """The environment of samconfig.toml that an environment is deployed with."""
    return name if name in ENVIRONMENTS else "dev"


@dataclass(frozen=True)
class Deployment:
    """The stack of one environment. Its names come from its outputs; a missing one raises OperatorError.

    `parameters` are the stack's own; `parameter` knows the template's default of one that an older stack does not have.
    """

    environment: str
    stack: str
    outputs: dict[str, str]
    parameters: dict[str, str]

    def output(self, name: str) -> str:
        """The value of an output of the stack."""
        if name not in self.outputs:
            raise OperatorError(f"The stack {self.stack} has no output {name}: deploy this version of the application.")
        return self.outputs[name]

    def parameter(self, name: str) -> str:
        """The value of a parameter of the stack."""
        return self.parameters[name] if name in self.parameters else definitions.defaults()[name]

    @property
    def bucket(self) -> str:
        """The bucket with input/ and the folders."""
        return self.output("ImageBucketName")

    @property
    def table(self) -> str:
        """The table with one record per image."""
        return self.output("DetectionLogsTableName")

    @property
    def workflow_arn(self) -> str:
        """The state machine, of which every execution is one."""
        return self.output("ImageWorkflowArn")

    @property
    def live_arn(self) -> str:
        """Its alias `live`, the release: what an execution is started with."""
        return self.output("LiveAliasArn")

    @property
    def backfill_arn(self) -> str:
        """The state machine of the backfill."""
        return self.output("BackfillWorkflowArn")

    @property
    def dead_letter_queues(self) -> dict[str, str]:
        """URL of every queue that keeps what could not be delivered, by the queue's logical id."""
        suffix = "QueueUrl"
        return {name.removesuffix("Url"): url for name, url in sorted(self.outputs.items()) if name.endswith(suffix)}

    @property
    def overdue(self) -> timedelta:
        """The age from which the schedule takes an upload up again."""
        return timedelta(minutes=int(self.parameter("OverdueMinutes")))

    @property
    def resources(self) -> Resources:
        """The same, as the reconciler wants it."""
        return Resources(
            self.bucket,
            self.table,
            self.live_arn,
            self.output("NoticesTopicArn"),
            self.environment,
            int(self.parameter("NoticeBurst")),
            int(self.parameter("ImageRetentionDays")),
        )

    def execution_arn(self, name: str) -> str:
        """The ARN of the workflow's execution of this name."""
        return f"{self.workflow_arn.replace(':stateMachine:', ':execution:')}:{name}"


def connect(environment: str) -> Deployment:
    """Find the stack of an environment, and point this process's AWS clients at where it lives.

    Raises OperatorError (or AWS's errors) when there is none.
    """
    name = reach(environment)
    stack = _stack(name, environment)
    given = {parameter["ParameterKey"]: parameter["ParameterValue"] for parameter in stack.get("Parameters", [])}
    return Deployment(
        environment,
        name,
        {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])},
        given,
    )


def reach(environment: str) -> str:
    """Point this process's AWS clients at where an environment lives -> its stack's name, be it there or not."""
    if environment == LOCAL:
        _point_at_the_local_aws()
    clients.forget()
    boto3.setup_default_session(region_name=OTHER_REGIONS.get(environment, REGION))
    return STACK_PREFIX + environment


def region() -> str:
    """The region of the environment that `reach` pointed this process at."""
    return (boto3.DEFAULT_SESSION.region_name if boto3.DEFAULT_SESSION else None) or REGION


def _point_at_the_local_aws() -> None:
    """Let every AWS client of this process talk to the local AWS: nothing of the user's own AWS settings stays."""
    from local import engine  # only here: on AWS, petdetect works without it

    try:
        local_aws = engine.engine_from_environment()
        is_up = local_aws.is_up()
    except engine.UserError as error:
        raise OperatorError(str(error)) from error
    if not is_up:
        raise OperatorError(
            "The local AWS is not running: start it with `make up`; or name an environment on AWS, for example "
            "`--env dev` (or PETDETECT_ENV=dev)."
        )
    for variable in [variable for variable in os.environ if variable.startswith("AWS_")]:
        del os.environ[variable]
    bypass = ",".join(
        filter(None, [os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), engine.HOST, "localhost"])
    )
    os.environ.update(
        engine.CREDENTIALS,
        AWS_ENDPOINT_URL=local_aws.url,
        AWS_ENDPOINT_URL_REKOGNITION=local_aws.rekognition_url,
        AWS_CONFIG_FILE=os.devnull,
        AWS_SHARED_CREDENTIALS_FILE=os.devnull,
        NO_PROXY=bypass,
        no_proxy=bypass,
    )


def _stack(name: str, environment: str) -> StackTypeDef:
    try:
        return boto3.client("cloudformation", config=CLIENT_CONFIG).describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if code_of(error) != "ValidationError":  # CloudFormation's word for a stack that is not there
            raise
        named = "" if environment in ENVIRONMENTS else f" --stack-name {name}"
        by_sam = f"sam build && sam deploy --config-env {settings_of(environment)}{named}"
        deploy = "make up" if environment == LOCAL else by_sam
        raise OperatorError(
            f"The stack {name} is not deployed in {region()} of this account: deploy it with `{deploy}`, or name "
            "another environment with --env."
        ) from None
