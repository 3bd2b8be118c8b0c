"""DynamoDB's items, with the expressions that the product writes, and the limit of what one item carries."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from typing import Any

from botocore.exceptions import ClientError

from tests.benchmarks.pace.virtual_time import Bucket, Busiest, World

Item = dict[str, Any]  # in DynamoDB's notation

# A partition takes 1,000 write units a second, and an item lies in one partition. Refused writes count too.
WRITES_A_SECOND_OF_AN_ITEM = 1000
SHARED = "turns#"  # the keys of such items
SECONDS = (0.003, 0.010)  # that a call takes
ATTEMPTS = 3  # of the SDK, with a second and two between them at most


class DynamoDB:
    """The client, for the code that runs in a World. Only items whose key begins with SHARED can be too busy."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.items: dict[str, Item] = {}
        self.writes: Counter[str] = Counter()  # by what the key begins with
        self.hottest: dict[str, Busiest] = {}
        self.throttled = 0
        self._partitions: dict[str, Bucket] = {}

    def get_item(self, *, TableName: str, Key: Item, ConsistentRead: bool) -> Any:
        """A read takes no time of its own: it is a small part of the call that follows."""
        found = self._world.told(lambda: dict(self.items.get(_text(Key), {})))
        return {"Item": found} if found else {}

    def put_item(
        self,
        *,
        TableName: str,
        Item: Item,
        ConditionExpression: str = "",
        ExpressionAttributeValues: Item | None = None,
    ) -> Any:
        """As in botocore."""
        key = Item["ContentHash"]["S"]

        def put() -> Any:
            self._check(key, ConditionExpression, ExpressionAttributeValues or {}, returned=False)
            self.items[key] = Item
            return {}

        return self._call(key, put)

    def update_item(
        self,
        *,
        TableName: str,
        Key: Item,
        UpdateExpression: str,
        ConditionExpression: str,
        ExpressionAttributeValues: Item,
        ReturnValues: str = "NONE",
        ReturnValuesOnConditionCheckFailure: str = "NONE",
    ) -> Any:
        """As in botocore."""
        key = _text(Key)

        def update() -> Any:
            returned = ReturnValuesOnConditionCheckFailure == "ALL_OLD"
            self._check(key, ConditionExpression, ExpressionAttributeValues, returned=returned)
            old = self.items.get(key, {})
            self.items[key] = _update(UpdateExpression)(old or dict(Key), ExpressionAttributeValues)
            return {"Attributes": old} if old and ReturnValues == "ALL_OLD" else {}

        return self._call(key, update)

    def _call(self, key: str, effect: Callable[[], Any]) -> Any:
        if not key.startswith(SHARED):
            return self._world.takes_alone(lambda: self._seconds(0), lambda: self._counted(key, effect))
        for attempt in range(ATTEMPTS):
            try:
                return self._world.takes(lambda: self._seconds(attempt), lambda: self._written(key, effect))  # noqa: B023
            except ClientError as error:
                if error.response["Error"]["Code"] != _THROTTLE or attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError

    def _seconds(self, attempt: int) -> float:
        backoff = self._world.random.uniform(0, 2.0 ** (attempt - 1)) if attempt else 0.0
        return backoff + self._world.random.uniform(*SECONDS)

    def _written(self, key: str, effect: Callable[[], Any]) -> Any:
        """The effect of a call on an item that all share, when it reaches the table."""
        if key not in self.hottest:
            self.hottest[key] = Busiest()
            self._partitions[key] = Bucket(self._world, WRITES_A_SECOND_OF_AN_ITEM, WRITES_A_SECOND_OF_AN_ITEM)
        if not self._partitions[key].takes():
            self.throttled += 1
            raise _error(_THROTTLE)
        self.hottest[key].add(self._world.now)
        return self._counted(key, effect)

    def _counted(self, key: str, effect: Callable[[], Any]) -> Any:
        self.writes[key.partition("#")[0]] += 1
        return effect()

    def _check(self, key: str, condition: str, values: Item, *, returned: bool) -> None:
        item = self.items.get(key, {})
        if condition and not _condition(condition)(item, values):
            raise _error("ConditionalCheckFailedException", item if returned else {})


_THROTTLE = "ProvisionedThroughputExceededException"


def _error(code: str, item: Item | None = None) -> ClientError:
    response: Any = {"Error": {"Code": code, "Message": ""}, **({"Item": item} if item else {})}
    return ClientError(response, "UpdateItem")


def _text(key: Item) -> str:
    ((_, value),) = key.items()
    return str(value["S"])


# --- Expressions ------------------------------------------------------------------------------------------------------


class _Missing:
    """An attribute that is not there: it equals nothing, and is neither smaller nor larger."""

    def __lt__(self, other: object) -> bool:
        return False

    __le__ = __gt__ = __ge__ = __lt__


_MISSING = _Missing()


def _plain(value: Item | None) -> Any:
    if value is None:
        return _MISSING
    ((kind, content),) = value.items()
    return Decimal(content) if kind == "N" else content


_TOKEN = re.compile(r"\s*(attribute_not_exists|attribute_exists|AND|OR|<>|<=|>=|[<>=()+]|:?\w+)")
_OPERATORS = {"AND": "and", "OR": "or", "<>": "!=", "=": "=="} | {
    sign: sign for sign in ("<", ">", "<=", ">=", "(", ")", "+")
}


@cache
def _condition(expression: str) -> Callable[[Item, Item], bool]:
    """A condition as a function of the item and the values."""
    condition: Callable[[Item, Item], bool] = _compiled(expression)
    return condition


@cache
def _compiled(expression: str) -> Any:
    words, position = [], 0
    while position < len(expression):
        token = _TOKEN.match(expression, position)
        if token is None:
            raise ValueError(f"The stand-in does not know this expression: {expression[position:]!r} in {expression!r}")
        position = token.end()
        word = token[1]
        if word in ("attribute_not_exists", "attribute_exists"):
            name = re.compile(r"\((\w+)\)").match(expression, position)
            assert name, expression
            position = name.end()
            words.append(f"({name[1]!r} {'not in' if 'not' in word else 'in'} item)")
        elif word in _OPERATORS:
            words.append(_OPERATORS[word])
        else:
            source = "values" if word.startswith(":") else "item"
            words.append(f"plain({source}.get({word!r}))")
    return eval(f"lambda item, values: {' '.join(words)}", {"plain": _plain})


@cache
def _update(expression: str) -> Callable[[Item, Item], Item]:
    """An update as a function that makes the new item of the old one and the values."""
    clauses = re.split(r"\b(SET|REMOVE)\b", expression)[1:]
    removed: list[str] = []
    set_to: list[tuple[str, str, Any]] = []
    for verb, terms in zip(clauses[::2], clauses[1::2], strict=True):
        for term in terms.split(","):
            if verb == "REMOVE":
                removed.append(term.strip())
            else:
                name, _, source = (part.strip() for part in term.partition("="))
                set_to.append((name, source, _compiled(source) if "+" in source else None))

    def update(old: Item, values: Item) -> Item:
        new = {name: value for name, value in old.items() if name not in removed}
        for name, source, total in set_to:
            new[name] = {"N": str(total(old, values))} if total else values[source]
        return new

    return update
