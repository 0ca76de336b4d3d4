"""Compare the compiled decoder of a model with the generic one."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from datetime import datetime, time
from enum import Enum
from typing import Any

from pydantic import BaseModel, create_model

from dynamodb_wrapper.exceptions import DynamoDBWrapperError, IncompatibleItemError
from dynamodb_wrapper.models import Table
from dynamodb_wrapper.serialization.codec import Codec
from dynamodb_wrapper.serialization.decoder import ItemReader
from dynamodb_wrapper.serialization.json_body import Reply

HIDDEN = ("__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
KEY = {"id": {"S": "x"}}


def name_of(value: Any) -> str:
    """Return a name for a value in a test id that is the same in every run."""
    return re.sub(r"<function (\w+)[^>]*>", r"\1", str(value))[:80]


def body_of(reply: Any) -> bytes:
    """Return a reply in boto3's form as DynamoDB sends it: binary as base64."""
    return json.dumps(reply, default=lambda b: base64.b64encode(b).decode()).encode()


def holder(annotation: Any, *default: Any, **config: Any) -> Any:
    """Return a model with a key and one field of a type."""
    base = create_model("Base", __config__=config) if config else None  # type: ignore[call-overload]
    return create_model(
        "Holder", __base__=base, id=(str, ...), value=(annotation, *(default or (...,)))
    )


def table_of(model: Any, **settings: Any) -> Table[Any]:
    """Return a table of a model whose key is the field ``id``."""
    return Table("t", model, **{"partition_key": "id", **settings})


def codec_of(model: Any, table: Table[Any] | None = None) -> Codec[Any]:
    return Codec(table or table_of(model), model)


def described(value: Any) -> Any:
    """Return a form of a value that is equal only for equal values of equal types."""
    kind = type(value)
    if isinstance(value, BaseModel):
        hidden = [described(getattr(value, name, None)) for name in HIDDEN]
        return kind, described(vars(value)), hidden
    if isinstance(value, (datetime, time)):
        return kind, value.isoformat(), repr(value.tzinfo)
    if isinstance(value, Enum):
        return kind, value.name, described(value.value)
    if isinstance(value, Mapping):
        return kind, [(described(key), described(inner)) for key, inner in value.items()]
    if isinstance(value, (set, frozenset)):
        kind = set if isinstance(value, set) else kind  # that of a model may carry the key read
        return kind, sorted((described(inner) for inner in value), key=repr)
    if isinstance(value, (list, tuple)):
        return kind, [described(inner) for inner in value]
    if is_dataclass(value) and not isinstance(value, type):
        return kind, described(vars(value))
    return kind, repr(value)


@dataclass(frozen=True)
class Outcome:
    """The result of a read: a model (None if the item has expired) or an error."""

    model: Any = None
    error: Any = None

    @property
    def description(self) -> Any:
        return described(self.model), self.error


def outcome(read: Any) -> Outcome:
    """Call a function and return its result or its error."""
    try:
        return Outcome(read())
    except IncompatibleItemError as error:
        return Outcome(error=(type(error), str(error), described(error.key), repr(error.errors())))
    except DynamoDBWrapperError as error:
        return Outcome(error=(type(error), str(error)))
    except Exception as error:
        return Outcome(error=(type(error), repr(error)))


def generic(codec: Codec[Any], item: Any) -> Outcome:
    """Return the outcome of the generic decoder."""
    return outcome(lambda: codec.decode(item))


def compiled(reader: ItemReader[Any], item: Any, *, table_name: str = "t") -> dict[str, Outcome]:
    """Return the outcome of the reader for each kind of reply."""

    def page() -> Any:
        return next(iter(reader.page(Reply(body_of({"Items": [item]}))).models), None)

    def one() -> Any:
        return reader.one(Reply(body_of({"Item": item}))).model

    def batch() -> Any:
        reply = Reply(body_of({"Responses": {table_name: [item]}, "UnprocessedKeys": {}}))
        return next(iter(reader.batch(reply, table_name).by_key.values()), None)

    return {"page": outcome(page), "one": outcome(one), "batch": outcome(batch)}


def assert_equal(model: Any, item: Any, table: Table[Any] | None = None) -> Outcome:
    """Read an item with both decoders, check that the outcomes are equal, and return it."""
    codec = codec_of(model, table)
    expected = generic(codec, item)
    for reply, found in compiled(ItemReader(codec), item).items():
        assert found.description == expected.description, reply
    return expected


def decode_counts(model: Any, item: Any, table: Table[Any] | None = None) -> tuple[int, int]:
    """Return how many items of a one-item page each decoder read: compiled, generic."""
    reader = ItemReader(codec_of(model, table))
    outcome(lambda: reader.page(Reply(body_of({"Items": [item]}))))
    return reader.counts.compiled, reader.counts.generic


def assert_compiled(model: Any, item: Any, table: Table[Any] | None = None) -> Any:
    """Read an item with both decoders; check that the compiled one did, and return the model."""
    found = assert_equal(model, item, table)
    assert found.error is None
    assert decode_counts(model, item, table) == (1, 0)
    return found.model
