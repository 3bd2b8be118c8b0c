"""What is deployed where: an environment of samconfig.toml, or the stack of a pull request (`pr-<number>`)."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import Any

from delivery.artifact import REPOSITORY, DeliveryError

ENVIRONMENTS = ("dev", "staging", "prod")  # `local` is `make up`
_PULL_REQUEST = re.compile(r"pr-([1-9][0-9]{0,6})")


@dataclass(frozen=True)
class Environment:
    """`config` is its section of samconfig.toml; `parameters` and `tags` are `Name=value`."""

    name: str
    config: str
    stack: str
    region: str
    parameters: tuple[str, ...]
    tags: tuple[str, ...]
    prefix: str  # of what is uploaded: what belongs to a pull request expires


def environment(name: str) -> Environment:
    """An environment by its name. Raises DeliveryError."""
    settings = tomllib.loads((REPOSITORY / "samconfig.toml").read_text())
    if name in ENVIRONMENTS:
        deploy = _deploy(settings, name)
        parameters, tags = tuple(deploy["parameter_overrides"]), tuple(deploy["tags"])
        return Environment(name, name, deploy["stack_name"], deploy["region"], parameters, tags, "releases")
    if not (found := _PULL_REQUEST.fullmatch(name)):
        raise DeliveryError(f"{name} is no environment: {', '.join(ENVIRONMENTS)}, or pr-<number>.")
    deploy = _deploy(settings, "dev")
    return Environment(
        name,
        "dev",
        f"{deploy['stack_name'].removesuffix('dev')}{name}",
        deploy["region"],
        # The log role of API Gateway is a setting of the account: it must outlive the pull request.
        (*deploy["parameter_overrides"], "ManageApiGatewayLogRole=false"),
        (
            *(tag for tag in deploy["tags"] if not tag.startswith("Environment=")),
            f"Environment={name}",
            f"PullRequest={found[1]}",
        ),
        "pull-requests",
    )


def _deploy(settings: dict[str, Any], name: str) -> dict[str, Any]:
    section: dict[str, Any] = settings[name]["deploy"]["parameters"]
    return section
