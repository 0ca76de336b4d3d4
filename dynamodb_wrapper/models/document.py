"""Base of the three models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable, ClassVar, Optional

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
    """Base of the models inside documents: keeps what a newer version of the library stored."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)
    REFUSES_UNKNOWN: ClassVar[bool] = False

    @model_validator(mode="after")
    def _unknown_only_when_stored(self, info: ValidationInfo) -> Self:
        if self.model_extra and not is_stored(info):
            if self.REFUSES_UNKNOWN:
                raise ValueError(f"has no field {', '.join(self.model_extra)}")
            self.model_extra.clear()
        return self


@dataclass(frozen=True)
class Rule:
    """What fields of a document demand of each other.

    Attributes:
        fields: The fields concerned.
        check: Takes their values in this order; raises ValueError where they do not fit.
        is_safe: Takes the fields that are known and tells whether the rule holds whatever the
            others are.
    """

    fields: tuple[str, ...]
    check: Callable[..., None]
    is_safe: Callable[[Mapping[str, Any]], bool]


class Document(BaseModel):
    """What the three models have in common.

    Assignments are validated; unknown fields are refused, while unknown *attributes* of a stored
    item are kept and written back, so that versions of the library can work side by side. Rules
    between fields are checked at construction and again when a repository writes; an item that is
    read may break them.

    Attributes:
        tags: At most 50; keys up to 128 characters, values up to 256.
        created_at: Set by the first write; None before, and for items others wrote without it.
        updated_at: Set by every write of a repository.
        created_by: Who wrote first; the config's actor unless given.
        updated_by: Who wrote last.
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
    """Fields that `update` with a whole model leaves alone; they are frozen for users as well."""

    COUNTED: ClassVar[Optional[str]] = None
    """Field that counts changes of the configuration, where the model has one."""
    NOT_CONFIGURATION: ClassVar[frozenset[str]] = frozenset()
    """Fields whose change is no change of the configuration."""
    RULES: ClassVar[tuple[Rule, ...]] = ()
    """Rules between fields, which updates of single fields must keep as well."""

    tags: Tags = Field(default_factory=dict)
    created_at: Optional[UtcDatetime] = Field(default=None, frozen=True)
    updated_at: Optional[UtcDatetime] = None
    created_by: Optional[str] = Field(default=None, frozen=True)
    updated_by: Optional[str] = None
    row_version: int = Field(default=0, ge=0)

    _unknown_attributes: dict[str, Any] = PrivateAttr(default_factory=dict)

    def check_rules(self) -> None:
        """Check what the fields demand of each other; raises ValueError."""
        for rule in self.RULES:
            rule.check(*(getattr(self, name) for name in rule.fields))

    def check_secrets(self) -> None:
        """Refuse literal secrets that came into a field in place; raises ValueError."""
        for name, info in type(self).model_fields.items():
            if SecretFree in info.metadata:
                refuse_secrets({name: getattr(self, name)})

    def model_post_init(self, context: Any, /) -> None:
        """Check the rules between fields, unless the values come from DynamoDB."""
        super().model_post_init(context)
        if context == STORED:
            return
        if self.model_fields_set:  # not for the empty model that only checks one field's value
            self.check_rules()

    @property
    def unknown_attributes(self) -> dict[str, Any]:
        """Attributes of the stored item this version does not know, in DynamoDB's own form."""
        return self._unknown_attributes

    def keep_unknown_attributes(self, attributes: dict[str, Any]) -> None:
        """Remember unknown attributes, so that a write puts them back."""
        self._unknown_attributes = attributes
