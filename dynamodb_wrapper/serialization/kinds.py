"""Tell the items of a table's model from those of other models in the same table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from dynamodb_wrapper.exceptions.errors import ValidationError
from dynamodb_wrapper.models.document import Document
from dynamodb_wrapper.models.kinds import KeyPrefix

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dynamodb_wrapper.models.table import Table
    from dynamodb_wrapper.serialization.expressions import Expressions
    from dynamodb_wrapper.serialization.values import Item

_LAST_CHARACTER = "\U0010ffff"
_SURROGATES = range(0xD800, 0xE000)


class ItemKind(NamedTuple):
    """The mark of a model's items.

    Attributes:
        attribute: The attribute that holds the mark.
        text: Its value, or what it begins with.
        is_prefix: Whether the value only begins with the text.
        is_default: Whether an item without the attribute has the kind too.
        is_in_key: Whether the attribute is part of the table's key.
        is_field: Whether the model sees the attribute.
    """

    attribute: str
    text: str
    is_prefix: bool = False
    is_default: bool = False
    is_in_key: bool = False
    is_field: bool = False

    def holds(self, stored: Mapping[str, Any]) -> bool:
        """Return whether an item, or a key that has the attribute, is of this kind."""
        value = stored.get(self.attribute)
        if value is None:
            return self.is_default
        found = value.get("S")
        return found == self.text or (
            self.is_prefix and isinstance(found, str) and found.startswith(self.text)
        )

    def condition(self, expressions: Expressions) -> str:
        """Return the condition, filter or key condition that an item is of this kind."""
        path = expressions.path((self.attribute,))
        value = expressions.value({"S": self.text})
        if self.is_prefix:
            return f"begins_with({path}, {value})"
        same = f"{path} = {value}"
        return f"attribute_not_exists({path}) OR {same}" if self.is_default else same

    def key_condition(self, expressions: Expressions) -> str:
        """Return the condition where the attribute is the sort key that is queried."""
        return self._replace(is_default=False).condition(expressions)

    def mark(self, stored: Item, model: str) -> None:
        """Add the mark to an item that is to be written, or check the one it has.

        Raises:
            ValidationError: The item has the mark of another kind.
        """
        if not self.is_field and self.attribute not in stored:
            stored[self.attribute] = {"S": self.text}
        elif self.attribute not in stored or not self.holds(stored):
            self.refuse(stored, model)

    def refuse(self, stored: Mapping[str, Any], model: str) -> None:
        """Raise the error for a key or an item of another kind that is to be written."""
        found = stored.get(self.attribute, {}).get("S")
        verb = "begin with" if self.is_prefix else "have"
        raise ValidationError(
            f"Items of {model} {verb} {self.text!r} in {self.attribute!r}, not {found!r}: it is "
            "how they are told from other models in the table."
        )

    def found_in(self, stored: Mapping[str, Any]) -> str:
        """Describe the mark of an item, for errors."""
        value = stored.get(self.attribute)
        return f"{self.attribute} " + (
            "absent" if value is None else repr(next(iter(value.values())))
        )

    def overlaps(self, other: ItemKind) -> bool:
        """Return whether an item could be of both kinds, as far as one attribute tells."""
        if self.attribute != other.attribute:
            return False
        if self.is_default and other.is_default:
            return True
        one, two = self.text, other.text
        return (
            one == two
            or (self.is_prefix and two.startswith(one))
            or (other.is_prefix and one.startswith(two))
        )

    def narrowed(self, operator: str, operands: list[str]) -> tuple[str, str] | None:
        """Return the first and last key of a key condition among those with the prefix.

        None where the condition itself finds no other kind.

        Raises:
            ValidationError: It asks for keys without the prefix.
        """
        if not self.is_prefix and (operator, operands) != ("=", [self.text]):
            raise ValidationError(
                f"sort= is a condition on {self.attribute!r}, which is {self.text!r} in all items "
                "of the model; leave it out."
            )
        first = operands[0]
        if operator == "begins_with" and self.text.startswith(first):
            return self.text, self.text + _LAST_CHARACTER
        outside = [text for text in operands if not text.startswith(self.text)]
        if outside:
            raise ValidationError(
                f"sort= asks for {outside[0]!r}; the values of {self.attribute!r} begin with "
                f"{self.text!r}, which tells the items of the model from others in the table."
            )
        last = self.text + _LAST_CHARACTER
        if operator == "<" and first == self.text:
            raise ValidationError(
                f"sort= finds nothing: no {self.attribute!r} is before {first!r}."
            )
        ranges = {
            ">": (first + "\0", last),
            ">=": (first, last),
            "<": (self.text, _before(first)),
            "<=": (self.text, first),
        }
        return ranges.get(operator)


def _before(text: str) -> str:
    """Return the last text that is less than another, in the order of DynamoDB."""
    code = ord(text[-1]) - 1
    if code < 0:
        return text[:-1]
    code = _SURROGATES.start - 1 if code in _SURROGATES else code
    return text[:-1] + chr(code) + _LAST_CHARACTER


def declared_kind(table: Table[Any]) -> ItemKind | None:
    """Return the kind that a table declares; None where it declares none."""
    kind = table.kind
    if kind is None:
        return None
    is_field = kind.name in table.model.model_fields
    attribute = table.attribute_of(kind.name) if is_field else kind.name
    is_in_key = kind.name in table.key_fields
    if isinstance(kind, KeyPrefix):
        return ItemKind(attribute, kind.prefix, True, False, is_in_key, is_field)
    is_default = kind.is_default and not is_in_key
    return ItemKind(attribute, kind.value, False, is_default, is_in_key, is_field)


def listed_kind(table: Table[Any]) -> ItemKind | None:
    """Return the kind that queries and scans keep to: the declared one, or that of a document.

    Documents are told from the items that the library keeps beside them.
    """
    if issubclass(table.model, Document):
        return ItemKind("kind", table.model.KIND, is_default=True)
    return declared_kind(table)


def refuse_overlaps(tables: Iterable[Table[Any]]) -> None:
    """Refuse tables of one name whose kinds do not tell their items apart.

    Raises:
        ValidationError: An item could be of two models; both are named.
    """
    seen: list[tuple[Table[Any], ItemKind]] = []
    for table in tables:
        kind = declared_kind(table)
        if kind is None:
            continue
        for other, theirs in seen:
            if other.model is not table.model and kind.overlaps(theirs):
                raise ValidationError(
                    f"Table {table.name!r}: {kind.attribute} {kind.text!r} of "
                    f"{table.model.__name__} and {theirs.text!r} of {other.model.__name__} do not "
                    "tell their items apart; choose texts of which none begins with another."
                )
        seen.append((table, kind))
