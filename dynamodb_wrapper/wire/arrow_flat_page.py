"""The items of a flat page as arrays, once it is known where everything is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dynamodb_wrapper.wire.arrow_kernels import spread

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from dynamodb_wrapper.wire.arrow_flat_texts import FlatTexts


class Cells(NamedTuple):
    """The values of one attribute and one type.

    Attributes:
        rows: The items, in ascending order; None for all.
        values: Truth values, or for texts where each begins.
        ends: Where the closing brace behind each text is; None for truth values.
    """

    rows: Any
    values: Any
    ends: Any


@dataclass(frozen=True)
class FlatPage:
    """A reply to a Query or Scan whose items are flat.

    Attributes:
        envelope: The reply, with ``0`` in the place of its items.
        count: The number of items.
        cells: All values, by attribute and type.
        texts: Makes arrays of those that are texts.
    """

    envelope: bytes
    count: int
    cells: Mapping[str, Mapping[str, Cells]]
    texts: FlatTexts

    def attributes(self, wanted: Iterable[tuple[str, Sequence[Any]]]) -> list[Any]:
        """Return attributes of all items, null where they are absent.

        Args:
            wanted: Names, and the types an attribute of each may have, strings and booleans: a
                struct of these is returned.
        """
        found = [(self.cells.get(name, {}), fields) for name, fields in wanted]
        cells = [tags[f.name] for tags, fields in found for f in fields if f.name in tags]
        spans = [(one.values, one.ends) for one in cells if one.ends is not None]
        texts = self.texts.between(spans)
        return [self._attribute(tags, fields, texts) for tags, fields in found]

    def _attribute(
        self, tags: Mapping[str, Cells], fields: Sequence[Any], texts: Iterator[Any]
    ) -> Any:
        if not tags:
            return pa.nulls(self.count, pa.struct(fields))
        arrays = [self._values(tags.get(field.name), field.type, texts) for field in fields]
        if not arrays:  # a struct of nothing would not know how long it is
            arrays, fields = [pa.nulls(self.count)], [pa.field("", pa.null())]
        rows, mask = [cells.rows for cells in tags.values()], None
        if all(some is not None for some in rows):
            mask = pc.invert(self._are_there(np.concatenate(rows)))
        return pa.StructArray.from_arrays(arrays, fields=fields, mask=mask)

    def _values(self, cells: Cells | None, type_: Any, texts: Iterator[Any]) -> Any:
        if cells is None:
            return pa.nulls(self.count, type_)
        values = pa.array(cells.values) if cells.ends is None else next(texts)
        return values if cells.rows is None else spread(values, self._are_there(cells.rows))

    def _are_there(self, rows: Any) -> Any:
        there = np.zeros(self.count, bool)
        there[rows] = True
        return pa.array(there)
