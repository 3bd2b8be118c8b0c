"""docs/parameters.md, from template.yaml and samconfig.toml: `python -m docs.parameters` writes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ops import definitions

DOCUMENT = definitions.REPOSITORY / "docs" / "parameters.md"

_HEAD = """\
# Parameters

Set them in `parameter_overrides` of an environment in samconfig.toml, or once with `sam deploy --parameter-overrides`.
The last column has what samconfig.toml sets already.

An existing stack keeps a value until it is set again: SAM CLI sends the previous value for every parameter that a
deployment does not name. So to go back to a default, set the default; and a default that a new version changes reaches
only new stacks.

The four numbers of the decision (`MinimumConfidence`, `ConfidenceMargin`, `ConfidenceFloor`, `OtherEvidence`) are
initial values: people change the SSM parameter without a deployment, and a deployment that changes one of them
overwrites it. Releases before `OtherEvidence` cannot read a parameter with that number: set it when this release is
wholly live, and back to 55 before a rollback to one.

| Parameter | Default | Allowed | Meaning | Set for |
|---|---|---|---|---|
"""


def markdown() -> str:
    """The document."""
    declared = definitions.document(definitions.TEMPLATE)["Parameters"]
    return _HEAD + "".join(_row(name, parameter) for name, parameter in declared.items())


def _row(name: str, parameter: Mapping[str, Any]) -> str:
    default = f"`{parameter['Default']}`" if str(parameter["Default"]) else "empty"
    set_for = "; ".join(
        f"{environment} `{values[name]}`"
        for environment, values in definitions.environments().items()
        if name in values
    )
    cells = [f"`{name}`", default, _allowed(parameter), parameter["Description"], set_for]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _allowed(parameter: Mapping[str, Any]) -> str:
    if "AllowedValues" in parameter:
        return ", ".join(f"`{value}`" for value in parameter["AllowedValues"])
    if "ConstraintDescription" in parameter:
        return str(parameter["ConstraintDescription"]).removeprefix("must be ")
    low, high = parameter.get("MinValue"), parameter.get("MaxValue")
    if low is None:
        return ""
    return f"from {low}" if high is None else f"{low} to {high}"


def main() -> None:
    """Write the document."""
    DOCUMENT.write_text(markdown())


if __name__ == "__main__":
    main()
