"""What petdetect calls, read from its code: every operation of AWS that ops/ can reach, also through pet_detector.

A name that is used is taken for a call of it, so that more is found than runs, never less: as long as a client is made
by its service's name, in the module that uses it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

import botocore.session
from botocore import xform_name

from tests.support.paths import REPOSITORY

ROOTS = {
    "delivery": REPOSITORY / "delivery",
    "ops": REPOSITORY / "ops",
    "pet_detector": REPOSITORY / "functions" / "pet_detector",
}
# Makes clients by a name that its caller gives.
CLIENTS = "pet_detector.aws.clients"
# Makes a client of a service without naming it.
COUNTING = {"counting_client": "dynamodb"}


@dataclass
class Module:
    """A module: what it imports, what it defines, and the services whose clients it makes."""

    name: str
    tree: ast.Module
    imports: dict[str, str] = field(default_factory=dict)
    services: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                self.imports |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.Name) and node.id in COUNTING:
                self.services.add(COUNTING[node.id])
            elif isinstance(node, ast.Call) and node.args and _called(node) == "client" and self.name != CLIENTS:
                assert isinstance(node.args[0], ast.Constant), f"{self.name} hides its service: {ast.unparse(node)}"
                self.services.add(str(node.args[0].value))

    def definitions(self) -> Iterator[tuple[str, ast.stmt]]:
        """Full name and code of what stands at the top of the module."""
        for node in self.tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                yield f"{self.name}.{node.name}", node
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                yield from ((f"{self.name}.{target.id}", node) for target in targets if isinstance(target, ast.Name))

    def used(self, node: ast.AST) -> Iterator[str]:
        """Full names of what a piece of its code uses."""
        for part in ast.walk(node):
            if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
                yield f"{self.imports.get(part.value.id, part.value.id)}.{part.attr}"
            elif isinstance(part, ast.Name):
                yield self.imports.get(part.id, f"{self.name}.{part.id}")


def _called(node: ast.Call) -> str:
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


@cache
def modules() -> list[Module]:
    """All modules of petdetect and of the package that it shares with the functions."""
    found = []
    for package, folder in ROOTS.items():
        for file in sorted(folder.rglob("*.py")):
            parts = [package, *file.relative_to(folder).with_suffix("").parts]
            name = ".".join(part for part in parts if part != "__init__")
            found.append(Module(name, ast.parse(file.read_text())))
    return found


@cache
def _operations(service: str) -> tuple[str, dict[str, str]]:
    """A service's prefix in policies, and its operations by the names of the client's methods."""
    model = botocore.session.Session().get_service_model(service)
    return model.signing_name, {xform_name(name): name for name in model.operation_names}


def calls(*starts: str, without: tuple[str, ...] = ()) -> dict[str, set[str]]:
    """`service:Operation` -> the functions that call it, of all that can be reached from these names.

    A start is the full name of a function, or the beginning of names with a dot or an underscore at its end: all in it.
    What begins with a name of `without` is left out, also where it is used.
    """
    defined = {
        name: (module, node)
        for module in modules()
        for name, node in module.definitions()
        if not name.startswith(without)
    }
    waiting = [name for name in defined for start in starts if name == start or name.startswith(_package(start))]
    assert len(waiting) >= len(starts), f"no such names: {starts}"
    reached: set[str] = set()
    found: dict[str, set[str]] = {}
    while waiting:
        name = waiting.pop()
        if name in reached or name not in defined or name.startswith(without):
            continue
        reached.add(name)
        module, node = defined[name]
        waiting += module.used(node)
        words = {part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)}
        # A paginator, or a loop over paginators, names its operation in a text.
        words |= {
            part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)
        }
        for service in module.services:
            prefix, operations = _operations(service)
            for word in words & operations.keys():
                found.setdefault(f"{prefix}:{operations[word]}", set()).add(name)
    return found


def _package(start: str) -> str:
    return start if start.endswith((".", "_")) else f"{start}\0"
