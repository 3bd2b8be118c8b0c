"""The calls of AWS that the functions' source makes, read from it, and what it may not do because nobody could read it.

A call is `client("s3").put_object(...)`, also by a name that a client was given in the same module. Everything else
that could call AWS or another place (another client, a name made at run time, a helper of boto3, a module for
networks) is a fault.
"""

from __future__ import annotations

import ast
from functools import cache
from typing import Any

import botocore.session

from tests.support.paths import IMPORT_ROOTS, REPOSITORY

# Where clients are made; it makes no call.
CLIENTS = "pet_detector.aws.clients"
MAKERS = {"client", "counting_client"}  # of CLIENTS
# What may be imported. Nothing here reaches a network or runs what it is given, but what CLIENTS makes.
MODULES = {
    "__future__", "aws_lambda_powertools", "base64", "binascii", "boto3.dynamodb.types", "botocore.exceptions",
    "botocore.parsers", "collections", "concurrent.futures", "contextlib", "dataclasses", "datetime", "decimal", "enum",
    "functools", "hashlib", "itertools", "json", "math", "operator", "os", "pathlib", "random", "re", "secrets",
    "struct", "time", "typing", "unicodedata", "urllib.parse", "uuid", "zlib",
}  # fmt: skip
ONLY_IN = {
    CLIENTS: {"boto3", "botocore.config"},
    "convert_image.conversion": {"ctypes", "subprocess", "sys"},  # runs the decoder, closed to it
    "convert_image.decoder": {"PIL", "io", "pi_heif", "resource", "sys", "warnings"},
}
# Names by which a call could be made that is not written down.
HIDING = {
    "__builtins__", "__dict__", "__getattribute__", "__import__", "__loader__", "__self__", "__subclasses__",
    "_make_api_call", "attrgetter", "eval", "exec", "getattr", "globals", "locals", "meta", "methodcaller", "setattr",
    "vars",
}  # fmt: skip

Call = tuple[str, str]  # service as boto3 calls it, and operation as its client does


@cache
def operations(service: str) -> frozenset[str]:
    """The operations of a service, as the methods of its client are called."""
    model = botocore.session.get_session().get_service_model(service)
    return frozenset(botocore.xform_name(name) for name in model.operation_names)


def sources() -> dict[str, str]:
    """The source of every module of the functions, by its name."""
    page = {"web.app": (REPOSITORY / "web" / "app.py").read_text()}  # beside the page that it serves: no package
    return page | {
        ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): file.read_text()
        for root in reversed(IMPORT_ROOTS)
        for file in sorted(root.rglob("*.py"))
    }


class _Reader(ast.NodeVisitor):
    def __init__(self, module: str) -> None:
        self.module, self.calls, self.faults = module, set[Call](), list[str]()
        self._makers: set[str] = set()  # what the module has of MAKERS
        self._clients: dict[str, str] = {}  # service by the name of a variable
        self._read: set[ast.AST] = set()  # clients whose use is understood

    def _fault(self, node: ast.AST, text: str) -> None:
        self.faults.append(f"{self.module}:{getattr(node, 'lineno', 0)}: {text}")

    def _service(self, node: ast.AST) -> str | None:
        """The service of an expression that is a client."""
        if isinstance(node, ast.Name):
            return self._clients.get(node.id)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in self._makers:
            if node.func.id == "counting_client":
                return "dynamodb"
            given = node.args[0] if node.args else None
            if isinstance(given, ast.Constant) and isinstance(given.value, str):
                return given.value
            self._fault(node, "name the service of the client where it is made")
        return None

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._imported(node, alias.name)
            if alias.asname:
                self._fault(node, f"{alias.name} under another name")

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        self._imported(node, module)
        self._makers |= {alias.name for alias in node.names} & MAKERS if module == CLIENTS else set()
        for alias in node.names:
            if alias.name in HIDING or (module == CLIENTS and alias.asname):
                self._fault(node, f"{alias.name} of {module}")

    def _imported(self, node: ast.AST, name: str) -> None:
        own = name.split(".")[0] in ("convert_image", "pet_detector") or name.startswith("mypy_boto3_")
        parents = {name.rsplit(".", times)[0] for times in range(name.count(".") + 1)}
        known = MODULES | ONLY_IN.get(self.module, set())
        if not own and not parents & known:
            self._fault(node, f"imports {name}")

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in HIDING or node.id == "compile":
            self._fault(node, node.id)
        if node.id in self._makers and isinstance(node.ctx, ast.Load) and node not in self._read:
            self._fault(node, f"{node.id} is used, but not for a call of AWS that can be read")
        if node.id in self._clients and isinstance(node.ctx, ast.Load) and node not in self._read:
            self._fault(node, f"the client {node.id} is handed on")

    def visit_Assign(self, node: ast.Assign) -> None:
        """`s3 = client("s3")`, or several at once."""
        pairs = [(target, node.value) for target in node.targets]
        if isinstance(node.value, ast.Tuple) and isinstance(node.targets[0], ast.Tuple):
            pairs = list(zip(node.targets[0].elts, node.value.elts, strict=True))
        for target, value in pairs:
            service = self._service(value)
            if service and isinstance(target, ast.Name) and isinstance(value, ast.Call):
                self._clients[target.id] = service
                self._read |= {value, value.func}
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if node.attr in HIDING:
            self._fault(node, node.attr)
        if isinstance(node.value, ast.Name) and node.value.id == "os" and node.attr != "environ":
            self._fault(node, f"os.{node.attr}")
        if isinstance(node.value, ast.Name) and node.value.id == "boto3" and node.attr != "client":
            self._fault(node, f"boto3.{node.attr}")
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute) and (service := self._service(node.func.value)):
            client = node.func.value
            self._read |= {client, client.func} if isinstance(client, ast.Call) else {client}
            self._called(node, service, node.func.attr)
        if isinstance(node.func, ast.Name) and node.func.id == "SSMProvider":  # of Powertools: it gets parameters
            (keyword,) = node.keywords
            if self._service(keyword.value) == "ssm" and isinstance(keyword.value, ast.Call):
                self._read.add(keyword.value.func)
                self.calls.add(("ssm", "get_parameter"))
        self.generic_visit(node)

    def _called(self, node: ast.Call, service: str, method: str) -> None:
        given: Any = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
        match method:
            case "get_paginator" | "generate_presigned_url":
                operation = given
            case "generate_presigned_post":
                operation = "put_object"
            case _:
                operation = method
        if operation in operations(service):
            self.calls.add((service, operation))
        else:
            self._fault(node, f"{service}.{method} is no operation of AWS")


@cache
def _tree(source: str) -> ast.Module:
    return ast.parse(source)


@cache
def read(module: str, source: str) -> tuple[set[Call], list[str]]:
    """The calls of AWS that a module makes, and what it may not do."""
    reader = _Reader(module)
    reader.visit(_tree(source))
    return reader.calls, reader.faults


# --- From a handler to its calls --------------------------------------------------------------------------------------


def reached(handler: str, of: dict[str, str]) -> set[Call]:
    """The calls that a handler's module can come to, by what its functions and those that they name are called.

    What is named is taken for called, and a class for all of its methods.
    """
    trees = {module: _tree(source) for module, source in of.items()}
    waiting = [(handler, node) for node in trees[handler].body]
    seen: set[ast.AST] = set()
    found: set[Call] = set()
    while waiting:
        module, node = waiting.pop()
        if node in seen or isinstance(node, ast.Import | ast.ImportFrom):
            continue
        seen.add(node)
        found |= _calls_in(module, trees[module], node)
        for owner, name in _named_by(module, trees[module], node):
            waiting += [(owner, definition) for definition in _definitions(trees.get(owner), name)]
    return found


@cache
def _calls_in(module: str, tree: ast.Module, node: ast.stmt) -> set[Call]:
    reader = _Reader(module)
    for other in tree.body:  # what the module imports, and clients that it holds itself
        if isinstance(other, ast.Assign | ast.ImportFrom):
            reader.visit(other)
    reader.calls.clear()
    reader.visit(node)
    return reader.calls


@cache
def _imported(tree: ast.Module) -> dict[str, str]:
    """The full names of what a module imports, by the names that it has there."""
    found: dict[str, str] = {}
    for statement in ast.walk(tree):
        if isinstance(statement, ast.ImportFrom):
            found |= {alias.asname or alias.name: f"{statement.module}.{alias.name}" for alias in statement.names}
    return found


@cache
def _named_by(module: str, tree: ast.Module, node: ast.stmt) -> set[tuple[str, str]]:
    """Module and name of what a definition may call."""
    imported, found = _imported(tree), set()
    for child in ast.walk(node):
        if isinstance(child, ast.Name):
            owner, _, name = imported.get(child.id, f"{module}.{child.id}").rpartition(".")
            found.add((owner, name))
        elif isinstance(child, ast.Attribute) and isinstance(child.value, ast.Name):
            found.add((imported.get(child.value.id, ""), child.attr))
    return found


@cache
def _definitions(tree: ast.Module | None, name: str) -> list[ast.stmt]:
    """What a module, if there is one, calls by this name."""
    return [statement for statement in tree.body if name in _names_of(statement)] if tree else []


def _names_of(definition: ast.stmt) -> set[str]:
    if isinstance(definition, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {definition.name}
    if isinstance(definition, ast.Assign):
        return {target.id for target in definition.targets if isinstance(target, ast.Name)}
    is_named = isinstance(definition, ast.AnnAssign) and isinstance(definition.target, ast.Name)
    return {definition.target.id} if is_named else set()  # type: ignore[attr-defined]
