"""Items as numbers: a state of the model is a tuple of numbers, equal where the items are."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from typing import Any, Optional

from dynamodb_wrapper.models import utc_text
from tests.model.expressions import Item

PIPELINE = "p"
WATERMARK = "w"
STATE = f"#pipeline#{PIPELINE}"
CURSOR = f"#cursor#{PIPELINE}#{WATERMARK}"
ABSENT = 0

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MOMENTS = frozenset(
    "created_at updated_at start_time end_time detected_at cancel_requested_at "
    "last_end last_ok_end first_success_at".split()
)
_FIRST = 100
_TOKEN = re.compile(r'"ClientRequestToken": "[^"]*", ')
_REAL_SECONDS = re.compile(r'"\d{10,}"')
_REAL_MOMENT = re.compile(r'"20\d\d-\d\d-\d\dT[^"]*Z"')


def slot(run_key: str) -> str:
    """Return the key of the item of a run key."""
    return f"#slot#{PIPELINE}#{run_key}"


def kind_of(key: str) -> str:
    """Return what an item is: RUN, STATE, SLOT or CURSOR."""
    marks = {"#pipeline#": "STATE", "#slot#": "SLOT", "#cursor#": "CURSOR"}
    return next((kind for mark, kind in marks.items() if key.startswith(mark)), "RUN")


def moment(tick: int, made: int = 0) -> datetime:
    """Return a moment of the model's clock.

    A tick is a millisecond, so that all of them are one second: a fence is then never higher
    because time has passed.

    Args:
        tick: What the clock shows.
        made: The true tick, which the library does not know of: it is kept in the microseconds.
    """
    return _EPOCH + timedelta(milliseconds=_FIRST + tick, microseconds=made)


def tick_of(text: str) -> int:
    """Return the tick of a stored moment."""
    return int(text[-7:-4]) - _FIRST


def made_at(text: str) -> int:
    """Return the true tick at which a stored moment was made."""
    return int(text[-4:-1])


_ZERO = utc_text(moment(0))


def text_of(item: Item, name: str) -> Optional[str]:
    """Return a text or a number of an item, None where it has none."""
    value = item.get(name)
    return None if value is None else str(next(iter(value.values())))


def number_of(item: Item, name: str) -> Optional[int]:
    """Return a whole number of an item, None where it has none."""
    text = text_of(item, name)
    return None if text is None else int(text)


class Items:
    """Every item that has been seen, by number; 0 is the absent one."""

    def __init__(self) -> None:
        self._items: list[Optional[Item]] = [None]
        self._numbers: dict[str, int] = {}

    def __getitem__(self, number: int) -> Optional[Item]:
        return self._items[number]

    def number(self, item: Optional[Item]) -> int:
        """Return the number of an item, of what decides in it."""
        if item is None:
            return ABSENT
        steady = _steady(item)
        text = json.dumps(steady, sort_keys=True)
        if text not in self._numbers:
            self._numbers[text] = len(self._items)
            self._items.append(steady)
        return self._numbers[text]


ITEMS = Items()


def _steady(item: Item) -> Item:
    """Return an item without what changes and decides nothing.

    Moments become one moment, except those of a lease; versions become 1, except a watermark's.
    """
    steady = {name: {"S": _ZERO} if name in _MOMENTS else value for name, value in item.items()}
    if "heartbeat_at" in item and "lease_until" not in item:
        steady["heartbeat_at"] = {"S": _ZERO}
    if "duration_seconds" in item:
        steady["duration_seconds"] = {"N": "0"}
    if "row_version" in item and item.get("kind") != {"S": "CURSOR"}:
        steady["row_version"] = {"N": "1"}
    return steady


def steady_text(request: Any) -> str:
    """Return a request as text, without what differs from call to call and decides nothing.

    These are its token and moments of the real clock.
    """
    text = json.dumps(request, sort_keys=True)
    return _REAL_MOMENT.sub(f'"{_ZERO}"', _REAL_SECONDS.sub('"0"', _TOKEN.sub("", text)))
