"""What is made of a model holds until pydantic builds the model anew."""

from __future__ import annotations

from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Any, Callable, TypeVar

if TYPE_CHECKING:
    from pydantic import BaseModel
    from typing_extensions import ParamSpec

    P = ParamSpec("P")

T = TypeVar("T")


def per_build(function: Callable[P, T]) -> Callable[P, T]:
    """Remember what a function makes of a model, its first argument, as the model is built now.

    Pydantic builds a model anew when a class is defined that an annotation names.
    """

    make: Callable[..., T] = function

    @lru_cache(maxsize=1024)
    def made(_build: Any, *args: Any) -> T:
        return make(*args)

    @wraps(function)
    def remembered(model: type[BaseModel], *args: Any) -> T:
        return made(model.__pydantic_validator__, model, *args)

    known: Any = remembered
    return known  # type: ignore[no-any-return]
