"""AWS Systems Manager: the parameter with the numbers of the detection policy, which operators may change."""

from __future__ import annotations

from datetime import UTC
from functools import cache

from aws_lambda_powertools.utilities.parameters import GetParameterError, SSMProvider

from pet_detector.aws.clients import client, on_forget
from pet_detector.aws.detection_logs import format_time
from pet_detector.aws.errors import translate, translated
from pet_detector.rules.errors import PolicyInvalidError
from pet_detector.rules.policy import Policy
from pet_detector.rules.policy_changes import Version

# How long a change of the parameter may take to be seen. Saves a call of SSM for every image of a busy minute.
CACHED_SECONDS = 60


@cache
def _provider() -> SSMProvider:
    return SSMProvider(boto3_client=client("ssm"))


on_forget(_provider.cache_clear)


def current(name: str) -> Policy:
    """The policy in the parameter, `{"minimum": 80, "margin": 15, "floor": 50}`, at most CACHED_SECONDS old.

    Raises PolicyInvalidError when the parameter is missing or cannot be used: better no decision than a wrong one;
    and ThrottledError, ServiceError or AccessDeniedError when it cannot be read.
    """
    try:
        return Policy.from_json(str(_provider().get(name, max_age=CACHED_SECONDS)))
    except PolicyInvalidError as error:
        _provider().clear_cache()  # type: ignore[no-untyped-call]  # a corrected parameter counts at once
        raise PolicyInvalidError(f"{name}: {error}") from error
    except GetParameterError as error:  # Powertools' name for whatever went wrong
        raise translate(error.__context__, f"ssm:GetParameter {name}") from error


def versions(name: str) -> list[Version]:
    """Every version that is kept (the last 100), the oldest first. Raises PolicyInvalidError when there is none."""
    found: list[Version] = []
    with translated(f"ssm:GetParameterHistory {name}"):
        for page in client("ssm").get_paginator("get_parameter_history").paginate(Name=name):
            found += [
                Version(
                    number=one["Version"],
                    value=one["Value"],
                    at=format_time(one["LastModifiedDate"].astimezone(UTC)),
                    writer=one.get("LastModifiedUser", ""),
                    description=one.get("Description", ""),
                )
                for one in page["Parameters"]
            ]
    return found


def put(name: str, text: str, description: str) -> None:
    """Write a new version. The functions see it within CACHED_SECONDS."""
    with translated(f"ssm:PutParameter {name}"):
        client("ssm").put_parameter(Name=name, Value=text, Description=description, Overwrite=True)
