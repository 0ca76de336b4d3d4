"""Results as columns: what is needed of pyarrow, pandas and polars, imported when it is used."""

from __future__ import annotations

import typing
from typing import TYPE_CHECKING, Any, Callable, Generic

from dynamodb_wrapper.exceptions import MissingDependencyError, ValidationError
from dynamodb_wrapper.models import ModelT
from dynamodb_wrapper.wire.arrow_misfits import Misfits
from dynamodb_wrapper.wire.decoding import stored_items

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dynamodb_wrapper.wire.arrow_reading import ArrowPage
    from dynamodb_wrapper.wire.bodies import Reply
    from dynamodb_wrapper.wire.decoding import Found, ItemReader


class Columns(Generic[ModelT]):
    """Reads the pages of one result as columns.

    Args:
        reader: Reads the models.
        table_name: The table as DynamoDB knows it.
        schema: The columns wanted; None for all.
        mismatch: What becomes of an item that does not fit.

    Raises:
        MissingDependencyError: pyarrow is not installed.
        ValidationError: Unknown column or mismatch.
    """

    def __init__(
        self, reader: ItemReader[ModelT], table_name: str, schema: Any, mismatch: Misfits
    ) -> None:
        known = typing.get_args(Misfits)
        if mismatch not in known:
            raise ValidationError(f"mismatch is {mismatch!r}; it is one of {', '.join(known)}.")
        require_pyarrow()
        from dynamodb_wrapper.wire.arrow_reading import ArrowReader

        key = (ArrowReader, table_name, schema, mismatch)
        if key not in reader.made:
            reader.made[key] = ArrowReader(reader, table_name, schema, mismatch)
        self._reader: ArrowReader[ModelT] = reader.made[key]

    def reads(
        self, whole: bool, keep: Callable[[Any], bool] | None
    ) -> Callable[[Reply], Found[Any]]:
        """Return what reads replies: as batches, or as items where more is done with these.

        Args:
            whole: Whether items are read from the table for what a page holds.
            keep: Leaves out items by their models.
        """
        self._is_stored, self._keep = whole or keep is not None, keep
        return stored_items if self._is_stored else self._reader.page

    def page(self, found: list[Any]) -> ArrowPage:
        """Return what was read as a batch."""
        if self._is_stored:
            return self._reader.items(found, self._keep)
        page: ArrowPage = found[0]
        return page

    def table(self, batches: Iterator[Any]) -> Any:
        """Return batches as one table."""
        import pyarrow

        return pyarrow.Table.from_batches(batches, self._reader.schema)


def to_pandas(table: Any, options: dict[str, Any]) -> Any:
    """Return an Arrow table as a pandas DataFrame."""
    require("pandas", "pandas")
    return table.to_pandas(**options)


def to_polars(table: Any) -> Any:
    """Return an Arrow table as a polars DataFrame."""
    return require("polars", "polars").from_arrow(table)


def require_pyarrow() -> None:
    """Make sure that pyarrow can be imported.

    Raises:
        MissingDependencyError: It cannot; the message names the command that installs it.
    """
    require("pyarrow", "'dynamodb-wrapper[arrow]'")


def require(package: str, installs: str) -> Any:
    """Return a package that is not needed by everybody.

    Raises:
        MissingDependencyError: It cannot be imported; the command that installs it is named.
    """
    from importlib import import_module

    try:
        return import_module(package)
    except ImportError as error:
        raise MissingDependencyError(
            f"This needs {package}, which cannot be imported ({error}): pip install {installs}."
        ) from error
