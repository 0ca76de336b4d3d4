"""Field types: how a value is checked and, where it differs from the default, stored.

A model read from DynamoDB is validated with `STORED` as context: values that other
programs wrote are accepted wherever they can be represented; new values must follow the rules.
"""

from __future__ import annotations

import math
import re
import time
import types
import typing
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Callable, NamedTuple, TypeVar, Union
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import orjson
from pydantic import AfterValidator, BeforeValidator, PlainSerializer, WrapValidator

from dynamodb_wrapper.redaction import find_secrets

if TYPE_CHECKING:
    from collections.abc import Iterable
    from enum import Enum

    from pydantic import ValidationInfo

    EnumT = TypeVar("EnumT", bound=Enum)

STORED = {"dynamodb_wrapper": "stored"}
UTC = timezone.utc
ENVIRONMENT_PATTERN = r"^[a-z][a-z0-9-]{0,31}$"
UNIONS = (Union, getattr(types, "UnionType", Union))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND, _MILLISECOND = timedelta(seconds=1), timedelta(milliseconds=1)
_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._:/=@+-]{0,254}$")


@dataclass(frozen=True)
class StoredAs:
    """Marks a field whose stored type is not the one its Python type suggests.

    Attributes:
        tag: DynamoDB's type descriptor: ``S``, ``N`` or ``B``.
        name: Name of the field type.
    """

    tag: str
    name: str


class Peeled(NamedTuple):
    """An annotation without ``Annotated`` and ``Optional``.

    Attributes:
        member: The type inside; still a union where it has several members besides None.
        markers: The markers of all ``Annotated``, those inside of ``Optional`` as well.
        may_be_null: Whether None is allowed as well.
    """

    member: Any
    markers: tuple[Any, ...]
    may_be_null: bool

    @property
    def is_union(self) -> bool:
        """Whether there are several members besides None."""
        return typing.get_origin(self.member) in UNIONS

    @property
    def stored_tag(self) -> str | None:
        """The type descriptor a marker sets for the stored values."""
        return next((m.tag for m in self.markers if isinstance(m, StoredAs)), None)


def peel(annotation: Any, markers: Iterable[Any] = ()) -> Peeled:
    """Remove ``Annotated``, ``Optional`` and ``NewType`` from an annotation.

    Args:
        annotation: Of a field, or of a part of one.
        markers: Those a field has besides its annotation.
    """
    found, may_be_null = list(markers), False
    while True:
        if hasattr(annotation, "__metadata__"):
            found += annotation.__metadata__
            annotation = annotation.__origin__
        elif hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        elif typing.get_origin(annotation) in UNIONS:
            members = typing.get_args(annotation)
            others = [member for member in members if member is not type(None)]
            may_be_null = may_be_null or len(others) < len(members)
            if len(others) != 1:
                return Peeled(annotation, tuple(found), may_be_null)
            annotation = others[0]
        else:
            return Peeled(annotation, tuple(found), may_be_null)


def is_stored(info: ValidationInfo) -> bool:
    """Return whether the values come from DynamoDB."""
    return info.context is STORED or info.context == STORED


def utc_now() -> datetime:
    """Return the current time in UTC."""
    return datetime.fromtimestamp(time.time(), UTC)


def utc_text(moment: datetime) -> str:
    """Return ``YYYY-MM-DDTHH:MM:SS.ffffffZ``, always 27 characters, so that texts sort by time.

    Raises:
        ValueError: The moment has no time zone, or nanoseconds.
    """
    in_utc = moment if moment.tzinfo is UTC else to_utc(moment)
    if in_utc.microsecond and type(in_utc) is datetime:  # several times as fast, without zeros
        try:
            return orjson.dumps(in_utc, option=orjson.OPT_UTC_Z)[1:-1].decode()
        except TypeError:
            pass  # the class is freezegun's, which has replaced `datetime` in this module as well
    refuse_nanoseconds(in_utc)
    return in_utc.isoformat(timespec="microseconds")[:26] + "Z"


def refuse_nanoseconds(value: Any) -> Any:
    """Return a value; refuse a moment or duration of pandas that has nanoseconds.

    Raises:
        ValueError: It has some; they would be lost.
    """
    if getattr(value, "nanosecond", 0) or getattr(value, "nanoseconds", 0):
        raise ValueError("has nanoseconds, and microseconds are stored; round it first")
    return value


def to_utc(moment: datetime) -> datetime:
    """Return the same moment in UTC.

    Raises:
        ValueError: The moment has no time zone.
    """
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise ValueError("has no time zone; use datetime.now(timezone.utc) or give it a tzinfo")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("is beyond the years 1 to 9999 in UTC") from None


def _aware(moment: datetime) -> datetime:
    refuse_nanoseconds(to_utc(moment))
    return moment


def _iso_text(moment: datetime) -> str:
    return moment.isoformat()


def _from_number(step: timedelta) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
            try:
                return _EPOCH + int(value) * step
            except OverflowError:
                raise ValueError("is beyond the years 1 to 9999; mind the unit") from None
        return refuse_nanoseconds(value)

    return convert


def _truncated(step: timedelta) -> Callable[[datetime], datetime]:
    def convert(moment: datetime) -> datetime:
        return _EPOCH + (to_utc(moment) - _EPOCH) // step * step

    return convert


def _to_number(step: timedelta) -> Callable[[datetime], int]:
    def convert(moment: datetime) -> int:
        return (moment - _EPOCH) // step

    return convert


UtcDatetime = Annotated[datetime, AfterValidator(to_utc)]
"""Stored as text in UTC with microseconds, 27 characters; a value without time zone is refused."""

IsoDatetime = Annotated[
    datetime,
    AfterValidator(_aware),
    PlainSerializer(_iso_text, return_type=str),
    StoredAs("S", "IsoDatetime"),
]
"""Stored as ISO 8601 text with the offset it came with."""

EpochSeconds = Annotated[
    datetime,
    BeforeValidator(_from_number(_SECOND)),
    AfterValidator(_truncated(_SECOND)),
    PlainSerializer(_to_number(_SECOND), return_type=int),
    StoredAs("N", "EpochSeconds"),
]
"""Stored as whole seconds since 1970, which is what DynamoDB's TTL reads."""

EpochMillis = Annotated[
    datetime,
    BeforeValidator(_from_number(_MILLISECOND)),
    AfterValidator(_truncated(_MILLISECOND)),
    PlainSerializer(_to_number(_MILLISECOND), return_type=int),
    StoredAs("N", "EpochMillis"),
]
"""Stored as whole milliseconds since 1970."""


def _valid_id(value: str, info: ValidationInfo) -> str:
    if not is_stored(info) and not _ID.fullmatch(value):
        raise ValueError(
            "must start with a letter or digit, then up to 254 of letters, digits and ._:/=@+-"
        )
    return value


Id = Annotated[str, AfterValidator(_valid_id)]
"""Key of one of the three tables."""


def free_number(number: int | Decimal) -> int | float | Decimal:
    """Return int for a whole number, float where it has exactly these digits, else Decimal."""
    if isinstance(number, int):
        return number
    if number == number.to_integral_value():
        return int(number)
    nearest = float(number)
    return nearest if Decimal(repr(nearest)) == number else number


def _json_able(value: Any, path: str = "") -> Any:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise ValueError(f"{path or 'value'} is not a finite number")
        return free_number(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{path or 'value'} is not a finite number")
        return value
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise ValueError(f"{path or 'value'} has a key that is not text: {key!r}")
        return {key: _json_able(v, f"{path}.{key}" if path else key) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_able(v, f"{path}[{i}]") for i, v in enumerate(value)]
    raise ValueError(
        f"{path or 'value'} is a {type(value).__name__}; use text, numbers, booleans, lists, dicts"
    )


JsonDict = Annotated[dict[str, Any], AfterValidator(_json_able)]
"""Free-form settings of JSON values. Whole numbers are read back as int, others as float, or as
Decimal where a float would change them."""


def time_zone(name: str) -> ZoneInfo:
    """Return a time zone.

    Raises:
        ValueError: The name is not in the IANA database.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("is not a time zone; use an IANA name such as Europe/Berlin") from None


def refuse_secrets(value: Any) -> None:
    """Refuse literal secrets at any depth of a value.

    Raises:
        ValueError: There is one; its path is named, the secret is not shown.
    """
    for path, reason in find_secrets(value):
        raise ValueError(
            f"{path} must not be stored in the clear ({reason}); store a reference instead, "
            "such as secretsmanager:<name>, ssm:<name> or env:<NAME>. If it is no secret, write "
            "plain:<value>"
        )


def _no_literal_secrets(value: Any, info: ValidationInfo) -> Any:
    if not is_stored(info):
        refuse_secrets(value)
    return value


SecretFree = AfterValidator(_no_literal_secrets)
"""Refuses literal secrets in a dict or text; a reference to a secret store is accepted."""


def _as_setting(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, float, Decimal)):
        return str(value)
    raise ValueError(f"is a {type(value).__name__}; a setting is text, a number or a boolean")


def _as_settings(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {str(key): _as_setting(inner) for key, inner in value.items()}


Settings = Annotated[dict[str, str], BeforeValidator(_as_settings), SecretFree]
"""Options for Spark: every value becomes text, booleans in lower case."""


def _within_tag_limits(tags: dict[str, str]) -> dict[str, str]:
    if len(tags) > 50:
        raise ValueError(f"holds {len(tags)} tags; 50 are the limit")
    for key, value in tags.items():
        if not 1 <= len(key) <= 128 or len(value) > 256:
            raise ValueError(f"{key[:40]!r}: a key has 1 to 128 characters, a value up to 256")
    return tags


Tags = Annotated[dict[str, str], AfterValidator(_within_tag_limits), SecretFree]
"""At most 50 tags; keys of 1 to 128 characters, values up to 256."""


def keep_unknown(enum: type[EnumT]) -> WrapValidator:
    """Return a validator that accepts unknown values of an enum when they come from DynamoDB."""

    def validate(value: Any, handler: Any, info: ValidationInfo) -> Any:
        try:
            return handler(value)
        except ValueError:
            if is_stored(info) and isinstance(value, str):
                return unknown_member(enum, value)
            raise

    return WrapValidator(validate)


def unknown_member(enum: type[EnumT], value: str) -> EnumT:
    """Return the member of an enum; a new one for a value the enum does not list."""
    if value in enum._value2member_map_:
        return enum(value)
    member: Any = str.__new__(enum, value)  # type: ignore[type-var]
    member._name_ = member._value_ = value
    return member  # type: ignore[no-any-return]
