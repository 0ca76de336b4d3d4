"""Reads DynamoDB's expressions; what is not understood raises."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Optional

from tests.model.expressions import (
    Absent,
    AllOf,
    AnyOf,
    Compared,
    Condition,
    IfAbsent,
    Literal,
    OneOf,
    Operand,
    Sum,
    UnknownExpressionError,
    Update,
    Value,
)

_TOKEN = re.compile(
    r"\s*(attribute_not_exists\b|if_not_exists\b|AND\b|OR\b|IN\b|SET\b|REMOVE\b"
    r"|#\w+|:\w+|<=|[=<(),+])"
)


class Parser:
    """Reads the expressions of one request.

    Args:
        names: What the ``#`` placeholders stand for.
        values: What the ``:`` placeholders stand for.
    """

    def __init__(self, names: Mapping[str, str], values: Mapping[str, Value]) -> None:
        self._names = names
        self._values = values
        self._used: set[str] = set()
        self._tokens: list[str] = []

    def condition(self, text: str) -> Condition:
        """Return a condition."""
        self._tokens = _tokens(text)
        found = self._any_of()
        self._end()
        return found

    def update(self, text: str) -> Update:
        """Return an update; a path that is named twice is what DynamoDB refuses."""
        self._tokens = _tokens(text)
        sets: list[tuple[str, Operand]] = []
        removes: list[str] = []
        if self._accept("SET"):
            sets.append(self._assignment())
            while self._accept(","):
                sets.append(self._assignment())
        if self._accept("REMOVE"):
            removes.append(self._path())
            while self._accept(","):
                removes.append(self._path())
        self._end()
        twice = [n for n, times in Counter([*dict(sets), *removes]).items() if times > 1]
        if twice or len(dict(sets)) < len(sets):
            raise UnknownExpressionError(f"Two paths of the update overlap: {text}")
        return Update(tuple(sets), tuple(removes))

    def check_all_used(self) -> None:
        """Refuse placeholders no expression uses, as DynamoDB does."""
        unused = {*self._names, *self._values} - self._used
        if unused:
            raise UnknownExpressionError(f"Placeholders are not used: {sorted(unused)}")

    def _any_of(self) -> Condition:
        parts = [self._all_of()]
        while self._accept("OR"):
            parts.append(self._all_of())
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def _all_of(self) -> Condition:
        parts = [self._single()]
        while self._accept("AND"):
            parts.append(self._single())
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def _single(self) -> Condition:
        if self._accept("("):
            inner = self._any_of()
            self._expect(")")
            return inner
        if self._accept("attribute_not_exists"):
            self._expect("(")
            absent = Absent(self._path())
            self._expect(")")
            return absent
        name = self._path()
        if self._accept("IN"):
            self._expect("(")
            values = [self._value()]
            while self._accept(","):
                values.append(self._value())
            self._expect(")")
            return OneOf(name, tuple(values))
        return Compared(name, self._expect("=", "<", "<="), self._value())

    def _assignment(self) -> tuple[str, Operand]:
        name = self._path()
        self._expect("=")
        operand = self._operand()
        return name, Sum(operand, self._operand()) if self._accept("+") else operand

    def _operand(self) -> Operand:
        if not self._accept("if_not_exists"):
            return Literal(self._value())
        self._expect("(")
        name = self._path()
        self._expect(",")
        value = self._value()
        self._expect(")")
        return IfAbsent(name, value)

    def _path(self) -> str:
        return self._names[self._placeholder("#")]

    def _value(self) -> Value:
        return self._values[self._placeholder(":")]

    def _placeholder(self, mark: str) -> str:
        token = self._next()
        if token is None or not token.startswith(mark):
            raise UnknownExpressionError(f"{token!r} where a placeholder with {mark} was expected")
        self._used.add(token)
        return token

    def _next(self) -> Optional[str]:
        return self._tokens.pop(0) if self._tokens else None

    def _accept(self, wanted: str) -> bool:
        if self._tokens[:1] != [wanted]:
            return False
        self._tokens.pop(0)
        return True

    def _expect(self, *wanted: str) -> str:
        token = self._next()
        if token is None or token not in wanted:
            raise UnknownExpressionError(f"{token!r} where {' or '.join(wanted)} was expected")
        return token

    def _end(self) -> None:
        if self._tokens:
            raise UnknownExpressionError(f"not understood: {' '.join(self._tokens)}")


def _tokens(text: str) -> list[str]:
    tokens, place = [], 0
    while place < len(text.rstrip()):
        match = _TOKEN.match(text, place)
        if match is None:
            raise UnknownExpressionError(f"not understood: {text[place:]!r} in {text!r}")
        tokens.append(match.group(1))
        place = match.end()
    return tokens
