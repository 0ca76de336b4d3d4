"""The items of a flat page as arrays, once it is known where everything is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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
        return [self._attribute(self.cells.get(name, {}), fields) for name, fields in wanted]

    def _attribute(self, tags: Mapping[str, Cells], fields: Sequence[Any]) -> Any:
        if not tags:
            return pa.nulls(self.count, pa.struct(fields))
        arrays = [self._values(tags.get(field.name), field.type) for field in fields]
        if not arrays:  # a struct of nothing would not know how long it is
            arrays, fields = [pa.nulls(self.count)], [pa.field("", pa.null())]
        rows, mask = [cells.rows for cells in tags.values()], None
        if all(some is not None for some in rows):
            mask = pa.array(~self._are_there(np.concatenate(rows)))
        return pa.StructArray.from_arrays(arrays, fields=fields, mask=mask)

    def _values(self, cells: Cells | None, type_: Any) -> Any:
        if cells is None:
            return pa.nulls(self.count, type_)
        if cells.ends is not None:
            return self.texts.between(cells.values, cells.ends, cells.rows, self.count)
        if cells.rows is None:
            return pa.array(cells.values)
        values = np.zeros(self.count, bool)
        values[cells.rows] = cells.values
        return pa.array(values, mask=~self._are_there(cells.rows))

    def _are_there(self, rows: Any) -> Any:
        there = np.zeros(self.count, bool)
        there[rows] = True
        return there
