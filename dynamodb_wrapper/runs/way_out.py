"""The way an exception raised by a signal takes out of PySpark.

An action that is interrupted in Python goes on in Java, and keeps the thread's connection busy.
Some of PySpark's functions, `DataFrame.collect` among them, make a call on that connection while
they are left: it would keep the exception from the body until the action is done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_PYSPARK = ("pyspark", "py4j")  # by name: neither is imported here


class WayOut:
    """The frames an exception leaves one after the other.

    Args:
        frame: The innermost, where the signal came.
    """

    def __init__(self, frame: FrameType | None) -> None:
        self._frames = frozenset(_outwards(frame))

    def leads_through_pyspark(self) -> bool:
        """Tell whether any of the frames is PySpark's."""
        return any(_is_pyspark(frame) for frame in self._frames)

    def has_come_to_pyspark(self, now: FrameType | None) -> bool:
        """Tell whether the frame that is being left is PySpark's, and calls something meanwhile.

        Args:
            now: The innermost frame at the moment.
        """
        if now in self._frames:
            return False
        left = next((frame for frame in _outwards(now) if frame in self._frames), None)
        return left is not None and _is_pyspark(left)


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_pyspark(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] in _PYSPARK
