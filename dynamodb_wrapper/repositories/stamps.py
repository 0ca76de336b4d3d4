"""What the library writes by itself: versions, time stamps, actors, index attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic

from dynamodb_wrapper.exceptions import ValidationError
from dynamodb_wrapper.models import Document, ModelT, Table, utc_now
from dynamodb_wrapper.wire.attributes import encode_value
from dynamodb_wrapper.wire.codec import Codec, put_derived
from dynamodb_wrapper.wire.paths import validate_whole

if TYPE_CHECKING:
    from dynamodb_wrapper.models import Derived
    from dynamodb_wrapper.wire.attributes import Item
    from dynamodb_wrapper.wire.updates import CheckedChanges, Update


def first_version() -> int:
    """Return the version of an item that begins now, in microseconds since 1970.

    A key that is written anew so gets a version it never had, and whoever read what was there
    before is refused.
    """
    return int(utc_now().timestamp() * 1_000_000)


class Stamps(Generic[ModelT]):
    """Adds to writes what callers do not say.

    Args:
        table: The declaration.
        codec: Encodes whole items.
        actor: Who writes.
        environment: What documents get that name no environment.
    """

    def __init__(
        self, table: Table[ModelT], codec: Codec[ModelT], actor: str, environment: str
    ) -> None:
        self._table = table
        self._codec = codec
        self._actor = actor
        self._environment = environment

    def values(self, item: ModelT, version: int | None) -> dict[str, Any]:
        """Return the field values that go with a write of a whole item."""
        values: dict[str, Any] = {}
        if self._table.version_field is not None and version is not None:
            values[self._table.version_field] = version
        if isinstance(item, Document):
            values["updated_at"] = now = utc_now()
            if item.created_at is None:
                values["created_at"] = now
            values["updated_by"] = self._actor
            if item.created_by is None:
                values["created_by"] = self._actor
            if "environment" in type(item).model_fields and item.environment is None:  # type: ignore[attr-defined]
                values["environment"] = self._environment
        return values

    def note_update(self, update: Update, touched: set[str], *, may_create: bool) -> None:
        """Raise the counters of an item that is changed in place, and say who changed it."""
        if self._table.version_field is not None:
            start = first_version() if may_create else 0
            update.increase((self._table.attribute_of(self._table.version_field),), start=start)
        model = self._table.model
        if issubclass(model, Document):
            if model.COUNTED is not None and touched - model.NOT_CONFIGURATION:
                update.increase((model.COUNTED,), start=1)
            for name, value in (("updated_at", utc_now()), ("updated_by", self._actor)):
                if name not in touched:
                    update.set((name,), encode_value(value, name))

    def complete(self, update: Update, changes: CheckedChanges, key: Item) -> None:
        """Make an upsert leave a whole item where there was none."""
        known = {**self._codec.keys.decode(key), **changes.values}
        item = validate_whole(self._table.model, known)
        item = item.model_copy(update=self.values(item, version=None))
        stored = self._codec.encode(item)
        done = {self._table.attribute_of(name) for name in changes.touched}
        done |= set(key) | self._stamped_attributes() | self._derived_touched(changes)
        for derived in self._table.derived:
            # The item may be there, with other values than the defaults computed from here.
            if derived.attribute in stored and derived.attribute not in done:
                self._refuse_unknown(derived, known)
        for name, value in stored.items():
            if name not in done:
                update.set_if_absent((name,), value)

    def _stamped_attributes(self) -> set[str]:
        names = {"updated_at", "updated_by"} if issubclass(self._table.model, Document) else set()
        for counter in (self._table.version_field, getattr(self._table.model, "COUNTED", None)):
            if counter is not None:
                names.add(self._table.attribute_of(counter))
        return names

    def _derived_touched(self, changes: CheckedChanges) -> set[str]:
        return {d.attribute for d in self._table.derived if changes.touched & set(d.fields)}

    def derive(self, update: Update, changes: CheckedChanges, key: Item) -> None:
        """Set the index attributes that are made from changed fields."""
        known = {**changes.values, **self._codec.keys.decode(key)}
        for derived in self._table.derived:
            if not changes.touched & set(derived.fields):
                continue
            self._refuse_unknown(derived, known)
            computed: Item = {}
            put_derived(computed, derived, derived.function(*(known[n] for n in derived.fields)))
            if computed:
                update.set((derived.attribute,), computed[derived.attribute])
            else:
                update.remove((derived.attribute,))

    def _refuse_unknown(self, derived: Derived, known: dict[str, Any]) -> None:
        missing = [name for name in derived.fields if name not in known]
        if missing:
            raise ValidationError(
                f"The index attribute {derived.attribute!r} of table {self._table.name!r} is "
                f"made from {', '.join(derived.fields)}: set {', '.join(missing)} as well, or "
                "update with the whole model."
            )
