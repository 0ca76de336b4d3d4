"""Base of the three models: common fields, rules between fields, unknown attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable, ClassVar, NamedTuple, Optional

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    model_validator,
)
from typing_extensions import Self

from dynamodb_wrapper.models.fields import (
    STORED,
    SecretFree,
    Tags,
    UtcDatetime,
    is_stored,
    refuse_secrets,
)


class Part(BaseModel):
    """Base of the models inside documents; keeps fields that a newer library version stored."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)
    REFUSES_UNKNOWN: ClassVar[bool] = False

    @model_validator(mode="after")
    def _unknown_only_when_stored(self, info: ValidationInfo) -> Self:
        if self.model_extra and not is_stored(info):
            if self.REFUSES_UNKNOWN:
                raise ValueError(f"has no field {', '.join(self.model_extra)}")
            self.model_extra.clear()
        return self


class Rule(NamedTuple):
    """A rule between fields of a document.

    Attributes:
        fields: The names of the fields.
        check: Receives their values in this order; raises ValueError where they break the rule.
        is_safe: Receives the known fields by name; returns whether the rule holds for every value
            of the others.
    """

    fields: tuple[str, ...]
    check: Callable[..., None]
    is_safe: Callable[[Mapping[str, Any]], bool]


class Document(BaseModel):
    """Base of the three models.

    Assignments are validated. Unknown fields are refused; unknown *attributes* of a stored item are
    kept and written back, so that different versions of the library can share a table. Rules
    between fields are checked at construction and again when a repository writes; an item that is
    read may break them.

    Attributes:
        tags: At most 50; keys up to 128 characters, values up to 256.
        created_at: Set by the first write; None before, and for items of other programs without it.
        updated_at: Set by every write of a repository.
        created_by: Author of the first write; the config's actor unless given.
        updated_by: Author of the last write.
        row_version: Raised by every write; guards `update` against lost changes. It begins with
            the microseconds since 1970, so that an item which replaces another has a higher one;
            only its order means anything.
    """

    model_config = ConfigDict(
        extra="forbid", validate_assignment=True, populate_by_name=True, hide_input_in_errors=True
    )
    KIND: ClassVar[str]
    SCHEMA_VERSION: ClassVar[int] = 1
    MANAGED: ClassVar[frozenset[str]] = frozenset({"created_at", "created_by"})
    """Fields that `update` with a whole model does not change; users cannot assign them."""
    COUNTED: ClassVar[Optional[str]] = None
    """Field that counts changes of the configuration; None where the model has no such field."""
    NOT_CONFIGURATION: ClassVar[frozenset[str]] = frozenset()
    """Fields that are not part of the configuration: changing them does not raise `COUNTED`."""
    RULES: ClassVar[tuple[Rule, ...]] = ()
    """Rules between fields; updates of single fields must keep them as well."""

    tags: Tags = Field(default_factory=dict)
    created_at: Optional[UtcDatetime] = Field(default=None, frozen=True)
    updated_at: Optional[UtcDatetime] = None
    created_by: Optional[str] = Field(default=None, frozen=True)
    updated_by: Optional[str] = None
    row_version: int = Field(default=0, ge=0)

    _unknown_attributes: dict[str, Any] = PrivateAttr(default_factory=dict)

    def check_rules(self) -> None:
        """Check the rules between fields; raises ValueError."""
        for rule in self.RULES:
            rule.check(*(getattr(self, name) for name in rule.fields))

    def check_secrets(self) -> None:
        """Refuse literal secrets, also those added to a dict in place; raises ValueError."""
        for name, info in type(self).model_fields.items():
            if SecretFree in info.metadata:
                refuse_secrets({name: getattr(self, name)})

    def model_post_init(self, context: Any, /) -> None:
        """Check the rules between fields, unless the values come from DynamoDB."""
        super().model_post_init(context)
        if context == STORED:
            return
        if self.model_fields_set:  # empty where a partial model validates one field
            self.check_rules()

    @property
    def unknown_attributes(self) -> dict[str, Any]:
        """Attributes of the stored item that this version does not know, as DynamoDB JSON."""
        return self._unknown_attributes

    def keep_unknown_attributes(self, attributes: dict[str, Any]) -> None:
        """Remember unknown attributes, so that a write puts them back."""
        self._unknown_attributes = attributes
