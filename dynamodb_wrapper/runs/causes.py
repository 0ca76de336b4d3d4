"""Find the exception of the user, or of Java, inside an exception of Spark by its text.

Spark wraps what failed on a worker or in Java several times: ``Py4JJavaError: An error occurred
while calling o42.collect`` says nothing about it. Nothing is imported, and the JVM is not asked:
its replies may be one off after an interruption.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_SPARK = ("pyspark.", "py4j.")
_LONGEST = 200_000
_TRACEBACK = "Traceback (most recent call last):"
_PYTHON = re.compile(r"(?P<type>[A-Za-z_][\w.]{0,200})(?:: (?P<message>.*))?\Z", re.DOTALL)
_FRAME = re.compile(
    r'^\s+File "(?P<file>[^"\n]{1,500})", line \d+, in (?P<function>\S{1,200})', re.M
)
_CAUSED_BY = re.compile(r"^Caused by: (?P<cause>[^\n]{1,4000})", re.MULTILINE)
_CALLING = re.compile(r"An error occurred while calling [^\n]{1,200}\n: (?P<cause>[^\n]{1,4000})")
_JAVA = re.compile(
    r"(?P<type>(?:[a-z_][\w$]{0,60}\.){1,12}[A-Z][\w$]{0,100})(?:: (?P<message>.*))?\Z", re.DOTALL
)
_OF_SPARK_ITSELF = ("/pyspark/", "/pyspark.zip/", "\\pyspark\\")
_OF_JAVA = ("\tat ", "Driver stacktrace")
_FRAMES = 3


class Cause(NamedTuple):
    """What failed.

    Attributes:
        type: Its class.
        message: Its message.
        places: The innermost functions of the user it came from; empty for Java.
    """

    type: str
    message: str
    places: tuple[str, ...] = ()


def cause_in_spark(error: BaseException, text: str) -> Cause | None:
    """Return what an exception of Spark was caused by; None where it says so itself.

    Args:
        error: The exception.
        text: Its text.
    """
    kinds = [(str(kind.__module__), str(kind.__name__)) for kind in type(error).__mro__]
    if not any(module.startswith(_SPARK) for module, _ in kinds):
        return None
    shown = text[:_LONGEST]
    if _TRACEBACK in shown:
        return _of_python(shown.rpartition(_TRACEBACK)[2])
    if any(name == "Py4JJavaError" for _, name in kinds):
        return _of_java(shown)
    return None


def _of_python(trace: str) -> Cause | None:
    """Return the exception at the end of a traceback, without what Java adds below it."""
    lines = trace.strip("\n").splitlines()
    begin = next((n for n, line in enumerate(lines) if line[:1].strip()), None)
    if begin is None:
        return None
    end = next(
        (
            n
            for n, line in enumerate(lines)
            if n > begin and line.startswith(("\tat ", "Driver st"))
        ),
        len(lines),
    )
    found = _PYTHON.match("\n".join(lines[begin:end]).strip())
    if found is None:
        return None
    frames = [
        frame["function"]
        for frame in _FRAME.finditer("\n".join(lines[:begin]))
        if not any(part in frame["file"] for part in _OF_SPARK_ITSELF)
    ]
    return Cause(found["type"], (found["message"] or "").strip(), tuple(frames[-_FRAMES:]))


def _of_java(text: str) -> Cause | None:
    """Return the innermost exception of Java."""
    causes = [match["cause"] for match in _CAUSED_BY.finditer(text)]
    outermost = _CALLING.search(text)
    shown = causes[-1] if causes else outermost["cause"] if outermost else ""
    found = _JAVA.match(shown)
    while found is not None and found["message"]:
        inner = _JAVA.match(found["message"])
        if inner is None:
            break
        found = inner
    return None if found is None else Cause(found["type"], (found["message"] or "").strip())
