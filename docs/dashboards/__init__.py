"""The dashboards of stacks/dashboards.yaml as pictures in docs/, so that a reader sees what there will be.

Here: what CloudFormation would hand to CloudWatch, and where its picture is. render.py draws it.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from ops import definitions

# The third, of costs, is arithmetic on metrics, which render.py does not do.
NAMES = ("business", "operations")
# Parameters that the pictures show; the others stand for themselves.
_VALUES = {"ApplicationName": "serverlessapp-pet-detector-prod", "Stage": "prod", "AWS::Region": "us-east-1"}


def body(name: str) -> dict[str, Any]:
    """The body of a dashboard: widgets, sizes, metrics, labels, statistics, lines."""
    resources = definitions.document(definitions.REPOSITORY / "stacks" / "dashboards.yaml")["Resources"]
    resource = resources[f"{name.capitalize()}Dashboard"]
    found: dict[str, Any] = _resolved(resource["Properties"]["DashboardBody"]["Fn::ToJsonString"])
    return found


def _resolved(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _resolved(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolved(item) for item in value]
    if isinstance(value, str):
        return _VALUES.get(value) or re.sub(r"\$\{([\w:]+)\}", lambda found: _VALUES.get(found[1], found[1]), value)
    return value


def digest(dashboard: dict[str, Any]) -> str:
    """What a picture shows, in short: it changes with the dashboard."""
    return hashlib.sha256(json.dumps(dashboard, sort_keys=True).encode()).hexdigest()[:16]


def title(name: str) -> str:
    """The name of a dashboard in CloudWatch."""
    return f"{_VALUES['ApplicationName']}-{name}"


def picture(name: str) -> Path:
    """The file with a dashboard's picture."""
    return definitions.REPOSITORY / "docs" / f"dashboard_{name}.png"
