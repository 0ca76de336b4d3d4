"""What is around the items of a reply, as msgspec reads it."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, Union

import msgspec
from pydantic import TypeAdapter

from dynamodb_wrapper.config import read_body, unreadable
from dynamodb_wrapper.wire.builds import per_build
from dynamodb_wrapper.wire.observers import validates_itself

if TYPE_CHECKING:
    from pydantic import BaseModel

    from dynamodb_wrapper.wire.attributes import Item


class Envelopes(NamedTuple):
    """Decoders of replies that hold structs of one class."""

    page: Any
    one: Any
    returned: Any
    batch: Any
    item: Any


_NOTHING = msgspec.Raw()


class _Page(msgspec.Struct, gc=False):
    """What every page has besides its items."""

    LastEvaluatedKey: msgspec.Raw = _NOTHING
    ConsumedCapacity: Any = None

    def last_key(self) -> Item | None:
        return part(self.LastEvaluatedKey) or None


class _RawPage(_Page, gc=False):
    Items: list[msgspec.Raw] = []


class _RawBatch(msgspec.Struct, gc=False):
    Responses: dict[str, list[msgspec.Raw]] = {}
    UnprocessedKeys: msgspec.Raw = _NOTHING
    ConsumedCapacity: Any = None


RAW_PAGE = msgspec.json.Decoder(_RawPage)
"""Decodes a page whose items are left as they are."""

RAW_BATCH = msgspec.json.Decoder(_RawBatch)
"""Decodes a batch in the same way."""


@lru_cache(maxsize=512)
def envelopes(struct: Any) -> Envelopes:
    """Return decoders of replies that hold structs of this class."""
    items = list[struct]
    page = msgspec.defstruct("Page", [("Items", items, [])], bases=(_Page,), gc=False)
    fields = [("Item", Union[struct, None], None), ("ConsumedCapacity", Any, None)]
    one = msgspec.defstruct("One", fields, gc=False)
    returned = msgspec.defstruct("One", fields, gc=False, rename={"Item": "Attributes"})
    batch = msgspec.defstruct(
        "Batch",
        [
            ("Responses", dict[str, items], {}),
            ("UnprocessedKeys", msgspec.Raw, _NOTHING),
            ("ConsumedCapacity", Any, None),
        ],
        gc=False,
    )
    return Envelopes(*map(msgspec.json.Decoder, (page, one, returned, batch, struct)))


@per_build
def validator(model: type[BaseModel]) -> Any:
    """Return what validates a list of a model's values."""
    if validates_itself(model):
        return lambda values, **settings: [model.model_validate(v, **settings) for v in values]
    return TypeAdapter(list[model]).validate_python  # type: ignore[valid-type]


def part(raw: msgspec.Raw) -> dict[str, Any]:
    """Return a part of a reply that was left as it is, as boto3 would."""
    content = bytes(raw)
    return read_body(content) if content not in (b"", b"null") else {}


def decode(decoder: Any, body: bytes) -> Any:
    """Return what a decoder makes of a body.

    Raises:
        ServiceError: It is no reply of DynamoDB's.
    """
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise unreadable(error) from error
