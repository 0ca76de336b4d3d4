"""Many threads compile and use the decoder of one model at once."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Optional

import pytest
from pydantic import BaseModel, create_model

from dynamodb_wrapper.exceptions import IncompatibleItemError
from dynamodb_wrapper.models import EpochSeconds
from dynamodb_wrapper.serialization.decoder import ItemReader
from dynamodb_wrapper.serialization.json_body import Reply
from tests.support.decoder_comparison import body_of, codec_of, table_of

if TYPE_CHECKING:
    from collections.abc import Iterator

THREADS = 16
ROUNDS = 10


class Line(BaseModel):
    sku: str
    price: Decimal
    parts: list[Line] = []


def new_model() -> Any:
    """Return a new model, whose decoder no thread has compiled yet."""
    return create_model(
        "Order",
        id=(str, ...),
        total=(float, 0),
        lines=(list[Line], []),
        named=(dict[str, Line], {}),
        expires_at=(Optional[EpochSeconds], None),
        free=(Any, None),
    )


def item(number: int) -> Any:
    line = {"M": {"sku": {"S": f"s{number}"}, "price": {"N": f"{number}.50"}}}
    return {
        "id": {"S": f"i{number}"},
        "total": {"N": f"{number}"},
        "lines": {"L": [line] * (number % 3)},
        "named": {"M": {"a": line}},
        "free": {"M": {"b": {"B": bytes([number])}}},
        "expires_at": {"N": "1" if number % 7 == 0 else "99999999999"},
    }


@pytest.fixture
def _switching_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def together(run: Any) -> list[Any]:
    """Run in many threads that begin at the same moment; return what each returned."""
    barrier = threading.Barrier(THREADS)

    def begin(number: int) -> Any:
        barrier.wait()
        return run(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(begin, range(THREADS)))


@pytest.mark.usefixtures("_switching_often")
def test_readers_made_at_once_read_the_same() -> None:
    items = [item(number) for number in range(60)]
    body = body_of({"Items": items})
    for _ in range(ROUNDS):
        model = new_model()
        codec = codec_of(model, table_of(model, ttl="expires_at"))
        expected = ItemReader(codec_of(model, codec.table)).page(Reply(None, {"Items": items}))
        found = together(lambda _, codec=codec: ItemReader(codec).page(Reply(body)))
        for page in found:
            assert page.models == expected.models
            assert page.places == expected.places


@pytest.mark.usefixtures("_switching_often")
def test_one_reader_reads_many_replies_at_once() -> None:
    model = new_model()
    reader = ItemReader(codec_of(model, table_of(model, ttl="expires_at")))
    good = [number for number in range(60) if number % 7]
    bad = {**item(1), "lines": {"S": "none"}}

    def read(thread: int) -> None:
        for number in good:
            stored = item(number)
            assert reader.one(Reply(body_of({"Item": stored}))).model.id == f"i{number}"
            page = reader.page(Reply(body_of({"Items": [stored, item(7), stored]})))
            assert [found.total for found in page.models] == [number, number]
            with pytest.raises(IncompatibleItemError, match="lines"):
                reader.one(Reply(body_of({"Item": bad})))

    together(read)
    assert reader.counts.compiled == 3 * THREADS * len(good)
    assert reader.counts.generic == THREADS * len(good)
