"""The table of the protocol model answers as a real engine does."""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from dynamodb_wrapper.aws.client import client_for
from dynamodb_wrapper.repositories import PipelineRunLogsRepository
from tests.model.checker import explore
from tests.model.items import ITEMS
from tests.model.parsing import Parser
from tests.model.scenarios import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dynamodb_wrapper.config import DynamoDBConfig

KEY = {"run_id": {"S": "one"}}
NAMES = {"#a": "a", "#b": "b", "#c": "c"}
VALUES = {
    ":one": {"N": "1"},
    ":two": {"N": "2.0"},
    ":ten": {"N": "10"},
    ":x": {"S": "x"},
    ":y": {"S": "y"},
    ":long": {"S": "xy"},
    ":true": {"BOOL": True},
    ":map": {"M": {"inner": {"N": "1"}}},
}
NUMBERS = [":one", ":two", ":ten"]


class Engine:
    """The run table of a real engine, set and read behind the library's back."""

    def __init__(self, config: DynamoDBConfig) -> None:
        self._client = client_for(config)
        self.table = config.table_name("pipeline_run_logs")
        PipelineRunLogsRepository(config).create_table()

    def set(self, key: Any, item: Any) -> None:
        if item is None:
            self._client.delete_item(TableName=self.table, Key=key)
        else:
            self._client.put_item(TableName=self.table, Item=item)

    def get(self, key: Any) -> Any:
        return self._client.get_item(TableName=self.table, Key=key, ConsistentRead=True).get("Item")

    def send(self, operation: str, request: Any) -> tuple[bool, list[Any]]:
        """Send a request of the library; return whether it was done, and the items it showed."""
        sent = self._here(request)
        try:
            if operation == "TransactWriteItems":
                self._client.transact_write_items(**sent)
                return True, []
            return True, list(filter(None, [self._client.update_item(**sent).get("Attributes")]))
        except ClientError as error:
            reasons = error.response.get("CancellationReasons", [error.response])
            codes = {reason.get("Code") for reason in reasons} - {"None", None}
            whole = error.response["Error"]["Code"]
            assert codes == {"ConditionalCheckFailed"} or whole.startswith("ConditionalCheck")
            return False, [reason.get("Item") for reason in reasons]

    def _here(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._here(inner) for inner in value]
        if isinstance(value, dict):
            here = {name: self._here(inner) for name, inner in value.items()}
            return {**here, "TableName": self.table} if "TableName" in here else here
        return value


@pytest.fixture
def engine_table(local_config: DynamoDBConfig) -> Engine:
    return Engine(local_config)


def condition(pick: random.Random, depth: int = 2) -> str:
    """Return a condition of the kinds the builder knows."""
    name = pick.choice(list(NAMES))
    if depth and pick.random() < 0.6:
        parts = [condition(pick, depth - 1) for _ in range(pick.choice([2, 3]))]
        joined = pick.choice([" AND ", " OR "]).join(parts)
        return f"({joined})" if pick.random() < 0.5 else joined
    kind = pick.choice(["absent", "=", "<", "<=", "IN"])
    if kind == "absent":
        return f"attribute_not_exists({name})"
    if kind == "IN":
        return f"{name} IN ({', '.join(pick.sample(list(VALUES), 2))})"
    return f"{name} {kind} {pick.choice([v for v in VALUES if v not in (':true', ':map')])}"


def update(pick: random.Random, item: dict[str, Any]) -> str:
    """Return an update of the kinds the builder knows."""
    first, second, third = pick.sample(list(NAMES), 3)
    start, step = pick.choice(NUMBERS), pick.choice(NUMBERS)
    sets = [f"{first} = {pick.choice(list(VALUES))}"]
    if "N" in item.get(NAMES[second], {"N": "0"}):
        sets.append(f"{second} = if_not_exists({second}, {start}) + {step}")
    else:
        sets.append(f"{second} = if_not_exists({second}, {pick.choice(list(VALUES))})")
    removes = f" REMOVE {third}" if pick.random() < 0.5 else ""
    return f"SET {', '.join(sets)}{removes}"


def cases() -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield items, and updates of them."""
    pick = random.Random(29)
    for _ in range(80):
        values = {name: pick.choice(list(VALUES.values())) for name in "abc" if pick.random() < 0.7}
        item = {**KEY, **values} if pick.random() < 0.9 else None
        request = {
            "UpdateExpression": update(pick, item or {}),
            "ConditionExpression": condition(pick),
        }
        text = " ".join(request.values())
        used = {name for name in (*NAMES, *VALUES) if name in text}
        yield (
            item,
            {
                "TableName": "here",
                "Key": KEY,
                **request,
                "ExpressionAttributeNames": {k: v for k, v in NAMES.items() if k in used},
                "ExpressionAttributeValues": {k: v for k, v in VALUES.items() if k in used},
                "ReturnValues": "ALL_NEW",
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            },
        )


def test_expressions_mean_what_they_mean_to_an_engine(engine_table: Engine) -> None:
    held = set()
    for item, request in cases():
        engine_table.set(KEY, item)
        names, values = request["ExpressionAttributeNames"], request["ExpressionAttributeValues"]
        parser = Parser(names, values)
        holds = parser.condition(request["ConditionExpression"]).holds(item or {})
        changed = parser.update(request["UpdateExpression"]).on(item or KEY)
        done, shown = engine_table.send("UpdateItem", request)
        assert done is holds, (item, request)
        assert numbered(shown[0]) == numbered(changed if holds else item), (item, request)
        held.add(holds)
    assert held == {True, False}


@pytest.mark.newest_only
@pytest.mark.slow
def test_the_requests_of_runs_do_what_they_do_on_an_engine(
    engine_table: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, logger="dynamodb_wrapper")
    answers = [
        answer
        for name in (
            "a watermark, reset, a fault",
            "two run keys",
            "a release",
            "no limit, a fault",
        )
        for answer in explore(SCENARIOS[name], limit=8_000).answers
        if answer[0].is_write
    ]
    for request, before, after, reply in random.Random(29).sample(answers, 120):
        keys = [{"run_id": {"S": part.key}} for part in request.parts]
        for key, number in zip(keys, before):
            engine_table.set(key, ITEMS[number])
        done, shown = engine_table.send(request.operation, request.content)
        assert done is (reply.kind == "done"), str(request)
        assert [ITEMS.number(engine_table.get(key)) for key in keys] == list(after), str(request)
        assert [ITEMS.number(item) for item in shown] == list(reply.items), str(request)


def numbered(item: Any) -> Any:
    """Return an item with its numbers as numbers."""
    if item is None:
        return None
    return {k: float(v["N"]) if "N" in v else v for k, v in item.items()}
