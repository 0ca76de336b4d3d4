"""Spark settings as text, checked before any session exists; no Spark is needed here."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Union

from dynamodb_wrapper.exceptions import ConfigurationError
from dynamodb_wrapper.redaction import find_secrets, is_reference

if TYPE_CHECKING:
    from dynamodb_wrapper.models import PipelineConfig

Setting = Union[str, int, float, Decimal, bool]


def settings_of(pipeline: PipelineConfig) -> dict[str, str]:
    """Return the settings of a pipeline: its resources, overlaid by its `spark_config`."""
    return {**pipeline.resources.spark_settings(), **pipeline.spark_config}


def as_text(value: object) -> str | None:
    """Return a setting as Spark reads it, booleans in lower case; None for what is no setting."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (str, int, float, Decimal)) else None


def checked(settings: Mapping[str, Setting], origin: str) -> dict[str, str]:
    """Return settings as text; everybody who sees the session can read them.

    Args:
        settings: Name to value.
        origin: Where they come from, for error texts.

    Raises:
        ConfigurationError: A name does not begin with ``spark.``, a value is no setting, or it
            is a secret or the reference to one.
    """
    secrets = dict(find_secrets(dict(settings)))
    texts: dict[str, str] = {}
    for name, value in settings.items():
        text = as_text(value)
        if not isinstance(name, str) or not name.startswith("spark."):
            raise ConfigurationError(
                f"{origin}: {name!r} is not a Spark setting; names begin with 'spark.'."
            )
        if text is None:
            raise ConfigurationError(
                f"{origin}: {name} is a {type(value).__name__}; a setting is text, a number or a "
                "boolean."
            )
        if name in secrets:
            raise ConfigurationError(
                f"{origin}: {name} is refused ({secrets[name]}): Spark shows its settings to "
                "everybody. Use the role of the instance or job, or a credential provider class."
            )
        if is_reference(value):
            raise ConfigurationError(
                f"{origin}: {name} refers to a secret; secrets do not go into Spark settings. Use "
                "the role of the instance or job, or a credential provider class."
            )
        texts[name] = text
    return texts
