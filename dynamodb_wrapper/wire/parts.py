"""The struct of a model, and the function that makes of it what the model validates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Union

import msgspec
from msgspec import UNSET, UnsetType

INDENT = "    "


@dataclass
class Parts:
    """Struct and function of a model while they are put together.

    Attributes:
        required: Fields of the struct that must be there.
        optional: The others.
        places: Attribute name to the name of the struct's field.
        keeps_order: Whether the entries of the dict come in the order of the fields.
        sure: Entries every dict has, put into it first.
        later: Lines that add the others.
    """

    keeps_order: bool
    required: list[Any] = field(default_factory=list)
    optional: list[Any] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)
    sure: list[str] = field(default_factory=list)
    later: list[str] = field(default_factory=list)

    def place(self, attribute: str, declared: Any, *, is_required: bool) -> str:
        """Add a field to the struct and return its name."""
        place = self.places[attribute] = f"f{len(self.places)}"
        if is_required:
            self.required.append((place, declared))
        elif declared is msgspec.Raw:  # takes anything by itself
            self.optional.append((place, declared, UNSET))
        else:
            self.optional.append((place, Union[declared, UnsetType], UNSET))
        return place

    def refuse(self, attributes: frozenset[str]) -> None:
        """Refuse items that have one of these attributes, unless it is a field already."""
        for attribute in sorted(attributes - self.places.keys()):
            self.place(attribute, int, is_required=False)  # no attribute value is one

    def add(self, key: str, got: str) -> None:
        """Add an entry every dict has."""
        if self.keeps_order and self.later:
            self.later.append(f"{INDENT}d[{key!r}] = {got}")
        else:
            self.sure.append(f"{key!r}: {got}")

    def add_where_set(self, key: str, place: str, got: str) -> None:
        """Add an entry that is left out where the attribute is absent."""
        self.later += [
            f"{INDENT}v = {place}",
            f"{INDENT}if v is not UNSET:",
            f"{INDENT * 2}d[{key!r}] = {got}",
        ]

    def function(self, name: str) -> str:
        """Return the code that makes the dict of a struct."""
        lines = [f"{INDENT}return {{{', '.join(self.sure)}}}"]
        if self.later:
            lines = [f"{INDENT}d = {{{', '.join(self.sure)}}}", *self.later, f"{INDENT}return d"]
        return "\n".join([f"def {name}(s):", *lines])

    def struct(self, name: str, *, refuses_unknown: bool) -> Any:
        """Return the class msgspec fills."""
        return msgspec.defstruct(
            name,
            [*self.required, *self.optional],
            rename={place: attribute for attribute, place in self.places.items()},
            forbid_unknown_fields=refuses_unknown,
            gc=False,
        )
