"""The run table as the model sees it: requests of the library, applied to numbered items."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

from tests.model.expressions import (
    Condition,
    Item,
    UnknownExpressionError,
    Update,
    conjuncts,
)
from tests.model.items import ABSENT, ITEMS, kind_of, steady_text
from tests.model.parsing import Parser

if TYPE_CHECKING:
    from collections.abc import Iterator

BUILT_BY = "BuiltBy"

_VERBS = {"Put": "put", "Update": "update", "ConditionCheck": "check", "Delete": "delete"}
_OPERATIONS = {"GetItem": "get", "UpdateItem": "update", "DeleteItem": "delete"}
_TAKEN = frozenset(
    "TableName Key Item UpdateExpression ConditionExpression ExpressionAttributeNames "
    "ExpressionAttributeValues ReturnValues ReturnValuesOnConditionCheckFailure "
    "ReturnConsumedCapacity ConsistentRead".split()
) | {BUILT_BY}


class Clause(NamedTuple):
    """One of the things a condition asks for.

    Attributes:
        built_by: The method of the builder the action comes from.
        action: Verb and kind of item.
        condition: The attributes the whole condition asks for.
        name: The attribute this clause asks for, whether for a value or for its absence.
    """

    built_by: str
    action: str
    condition: str
    name: str

    def __str__(self) -> str:
        return f"{self.built_by}: {self.action}({self.condition}) without {self.name}"


@dataclass(frozen=True, eq=False)
class Part:
    """What a request does with one item.

    Attributes:
        verb: ``get``, ``put``, ``update``, ``delete`` or ``check``.
        key: Of the item.
        built_by: The method of the builder it comes from; empty for reads.
        conditions: What must all hold.
        clauses: What each of these is called.
        update: What is changed.
        item: What is put.
        shows: Whether a refusal shows the item it met.
        returns: Whether the reply holds the item as it then is.
    """

    verb: str
    key: str
    built_by: str
    conditions: tuple[Condition, ...] = ()
    clauses: tuple[Clause, ...] = ()
    update: Optional[Update] = None
    item: Optional[Item] = None
    shows: bool = True
    returns: bool = False

    def allows(self, item: Item, dropped: frozenset[Clause]) -> bool:
        """Tell whether the condition, less the dropped clauses, holds."""
        return all(
            condition.holds(item)
            for condition, clause in zip(self.conditions, self.clauses)
            if clause not in dropped
        )

    def write(self, before: Optional[Item]) -> Optional[Item]:
        """Return the item as it is afterwards."""
        if self.item is not None or self.verb == "delete":
            return self.item
        if self.update is None:
            return before
        return self.update.on(before or {"run_id": {"S": self.key}})


@dataclass(frozen=True, eq=False)
class Request:
    """A request of the library; equal ones are one object.

    Attributes:
        operation: The AWS operation.
        parts: What it does, item by item.
        content: What DynamoDB is sent.
    """

    operation: str
    parts: tuple[Part, ...]
    content: dict[str, Any]

    @property
    def is_write(self) -> bool:
        """Whether it can change anything."""
        return self.operation != "GetItem"

    @property
    def has_token(self) -> bool:
        """Whether DynamoDB applies it once, however often it arrives."""
        return self.operation == "TransactWriteItems"

    @property
    def built_by(self) -> str:
        """The method of the builder it comes from."""
        return self.parts[0].built_by

    def __str__(self) -> str:
        if self.operation == "GetItem":
            return f"reads {self.parts[0].key}"
        return f"{self.built_by}({', '.join(part.key for part in self.parts)})"


class Reply(NamedTuple):
    """What comes back.

    Attributes:
        kind: ``item``, ``done``, ``refused``, ``unreachable`` or ``clock``.
        items: Numbers of the items it shows; of a refused transaction one per action.
        refused: Of a refused transaction, which actions refused.
        tick: Of the clock.
    """

    kind: str
    items: tuple[int, ...] = ()
    refused: tuple[bool, ...] = ()
    tick: int = 0

    def __str__(self) -> str:
        if self.kind == "item":
            return _summary(ITEMS[self.items[0]])
        if self.kind == "refused":
            shown = (_summary(ITEMS[i]) for i, no in zip(self.items, self.refused) if no)
            return f"REFUSED by {'; '.join(shown)}"
        return self.kind


UNREACHABLE = Reply("unreachable")

Answer = tuple[Request, tuple[int, ...], tuple[int, ...], Reply]

_requests: dict[tuple[str, str], Request] = {}


def understand(operation: str, request: dict[str, Any]) -> Request:
    """Return a request of the library in the model's form.

    Raises:
        AssertionError: It says something the model does not know.
    """
    text = steady_text(request)
    if (operation, text) not in _requests:
        steady = json.loads(text)
        if operation == "TransactWriteItems":
            entries = [next(iter(entry.items())) for entry in steady["TransactItems"]]
            parts = [_part(_VERBS[verb], content) for verb, content in entries]
        else:
            parts = [_part(_OPERATIONS[operation], steady)]
        _requests[operation, text] = Request(operation, tuple(parts), _unmarked(steady))
    return _requests[operation, text]


class Table:
    """Applies requests to the items of one world.

    Args:
        keys: The keys the world has, in the order of its items.
        dropped: Clauses no condition asks for.
    """

    def __init__(self, keys: tuple[str, ...], dropped: frozenset[Clause] = frozenset()) -> None:
        self._places = {key: place for place, key in enumerate(keys)}
        self._dropped = dropped
        self._touched: dict[Request, tuple[int, ...]] = {}
        self._known: dict[Any, tuple[tuple[tuple[int, int], ...], Reply]] = {}
        self.met: set[Clause] = set()

    def send(self, request: Request, items: tuple[int, ...]) -> tuple[tuple[int, ...], Reply]:
        """Return the items after a request, and the reply."""
        if request not in self._touched:
            self._touched[request] = tuple(self._places[part.key] for part in request.parts)
        places = self._touched[request]
        met = (request, *[items[place] for place in places])
        known = self._known.get(met)
        if known is None:
            known = self._known[met] = self._apply(request, places, items)
        changes, reply = known
        if not changes:
            return items, reply
        new = list(items)
        for place, number in changes:
            new[place] = number
        return tuple(new), reply

    def answers(self) -> Iterator[Answer]:
        """Yield each request that was met, its items before and after, and the reply."""
        for (request, *before), (changes, reply) in self._known.items():
            after = tuple(number for _, number in changes) or tuple(before)
            yield request, tuple(before), after, reply

    def _apply(
        self, request: Request, places: tuple[int, ...], items: tuple[int, ...]
    ) -> tuple[tuple[tuple[int, int], ...], Reply]:
        numbers = [items[place] for place in places]
        if not request.is_write:
            return (), Reply("item", (numbers[0],))
        refused = []
        for part, number in zip(request.parts, numbers):
            self.met.update(part.clauses)
            refused.append(not part.allows(ITEMS[number] or {}, self._dropped))
        if any(refused):
            shows = [no and part.shows for part, no in zip(request.parts, refused)]
            shown = tuple(n if show else ABSENT for n, show in zip(numbers, shows))
            return (), Reply("refused", shown, tuple(refused))
        written = [
            ITEMS.number(part.write(ITEMS[number])) for part, number in zip(request.parts, numbers)
        ]
        returned = (n for part, n in zip(request.parts, written) if part.returns)
        return tuple(zip(places, written)), Reply("done", tuple(returned))


def _unmarked(content: Any) -> Any:
    if isinstance(content, list):
        return [_unmarked(inner) for inner in content]
    if isinstance(content, dict):
        return {name: _unmarked(inner) for name, inner in content.items() if name != BUILT_BY}
    return content


def _part(verb: str, request: dict[str, Any]) -> Part:
    unknown = set(request) - _TAKEN
    assert not unknown, f"The model does not know {sorted(unknown)}."
    assert verb != "get" or request["ConsistentRead"], "A decision needs a consistent read."
    key = (request.get("Key") or {"run_id": request["Item"]["run_id"]})["run_id"]["S"]
    built_by = request.get(BUILT_BY, "")
    parser = Parser(
        request.get("ExpressionAttributeNames", {}), request.get("ExpressionAttributeValues", {})
    )
    text = request.get("ConditionExpression")
    condition = None if text is None else parser.condition(text)
    update_text = request.get("UpdateExpression")
    update = None if update_text is None else parser.update(update_text)
    parser.check_all_used()
    if update is not None and "run_id" in update.names:
        raise UnknownExpressionError(f"DynamoDB does not update the key: {update_text}")
    conditions = () if condition is None else conjuncts(condition)
    action = f"{verb} {kind_of(key)}"
    asked = ", ".join(part.name for part in conditions)
    clauses = tuple(Clause(built_by, action, asked, part.name) for part in conditions)
    shows = request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
    returns = request.get("ReturnValues") == "ALL_NEW"
    item = request.get("Item")
    return Part(verb, key, built_by, conditions, clauses, update, item, shows, returns)


def _summary(item: Optional[Item]) -> str:
    if item is None:
        return "nothing"
    names = (
        "status status_reason holder fence lease_until superseded_by last_ok_run_id last_run_id "
        "writer value moved_by row_version attempt watermark_conflict late_outcome"
    ).split()
    shown = [f"{n}={next(iter(item[n].values()))}" for n in names if n in item]
    return f"{item.get('kind', {'S': '?'})['S']}({', '.join(shown)})"
