"""The deployed application that a command is about: the stack of one environment, on AWS or on the embedded one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from local.engine import CREDENTIALS, HOST, REGION, Engine, engine_from_environment
from ops import shipped
from ops.errors import OperatorError
from pet_detector.aws.errors import code_of
from pet_detector.use_cases.reconciler import Resources

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.type_defs import StackTypeDef

ENVIRONMENTS = ("local", "dev", "staging", "prod")  # of samconfig.toml
LOCAL = "local"
STACK_PREFIX = "serverlessapp-pet-detector-"

# A person waits: give up before they do, but not at the first hiccup.
CLIENT_CONFIG = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 3})


@dataclass(frozen=True)
class Deployment:
    """The stack of one environment. Its names come from its outputs; a missing one raises OperatorError.

    `parameters` are the stack's, and the template's defaults of those that an older version does not have.
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
        """The state machine."""
        return self.output("ImageWorkflowArn")

    @property
    def dead_letter_queues(self) -> dict[str, str]:
        """URL of every queue that keeps what could not be delivered, by the queue's logical id."""
        suffix = "QueueUrl"
        return {name.removesuffix("Url"): url for name, url in sorted(self.outputs.items()) if name.endswith(suffix)}

    @property
    def overdue(self) -> timedelta:
        """The age from which the schedule takes an upload up again."""
        return timedelta(minutes=int(self.parameters["OverdueMinutes"]))

    @property
    def resources(self) -> Resources:
        """The same, as the reconciler wants it."""
        return Resources(self.bucket, self.table, self.workflow_arn, self.output("NoticesTopicArn"), self.environment)

    def execution_arn(self, name: str) -> str:
        """The ARN of the workflow's execution of this name."""
        return f"{self.workflow_arn.replace(':stateMachine:', ':execution:')}:{name}"


def connect(environment: str) -> Deployment:
    """Find the stack of an environment, and point this process's AWS clients at where it lives.

    Raises OperatorError (or the engine's UserError, or AWS's errors) when there is none.
    """
    if environment == LOCAL:
        engine = engine_from_environment()
        if not engine.is_up():
            raise OperatorError(
                "The local AWS is not running: start it with `make up`; or name an environment on AWS, for example "
                "`--env dev` (or PETDETECT_ENV=dev)."
            )
        _point_at(engine)
    boto3.setup_default_session(region_name=REGION)
    name = STACK_PREFIX + environment
    stack = _stack(name, environment)
    given = {parameter["ParameterKey"]: parameter["ParameterValue"] for parameter in stack.get("Parameters", [])}
    return Deployment(
        environment,
        name,
        {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])},
        shipped.defaults() | given,
    )


def _point_at(engine: Engine) -> None:
    """Let every AWS client of this process, pet_detector's too, talk to the engine: nothing of the user's AWS stays."""
    for variable in [variable for variable in os.environ if variable.startswith("AWS_")]:
        del os.environ[variable]
    bypass = ",".join(filter(None, [os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), HOST, "localhost"]))
    os.environ.update(
        CREDENTIALS,
        AWS_ENDPOINT_URL=engine.url,
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
        deploy = "make up" if environment == LOCAL else f"sam build && sam deploy --config-env {environment}"
        raise OperatorError(
            f"The stack {name} is not deployed in {REGION} of this account: deploy it with `{deploy}`, or name another "
            "environment with --env."
        ) from None
