"""Label selectors, as `kubectl -l` takes them (pure).

Requirements are separated by commas and all must hold: `a=b`, `a==b`, `a!=b`, `a in (b,c)`, `a notin (b,c)`, `a`, `!a`.
A label that is missing satisfies `!=` and `notin`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

_TOKEN = re.compile(r"\s*(==|!=|[=!(),<>]|[^\s=!(),<>]+)")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_PREFIX = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_MAX_PREFIX = 253
_MAX_LENGTH = 4096


class Operator(Enum):
    """How a requirement reads."""

    IN = "in"
    NOT_IN = "notin"
    EXISTS = "exists"
    ABSENT = "!"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One part of a selector."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Say whether these labels satisfy it."""
        match self.operator:
            case Operator.EXISTS:
                return self.key in labels
            case Operator.ABSENT:
                return self.key not in labels
            case Operator.IN:
                return self.key in labels and labels[self.key] in self.values
            case Operator.NOT_IN:
                return self.key not in labels or labels[self.key] not in self.values


@dataclass(frozen=True, slots=True)
class Selector:
    """All requirements; none selects everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Say whether these labels satisfy all requirements."""
        return all(one.matches(labels) for one in self.requirements)


def is_label_key(text: str) -> bool:
    """Say whether a text may be the key of a label: a name, or a DNS name and a name with a slash between."""
    prefix, slash, name = text.rpartition("/")
    if slash and (len(prefix) > _MAX_PREFIX or not _PREFIX.fullmatch(prefix)):
        return False
    return _NAME.fullmatch(name) is not None


def is_label_value(text: str) -> bool:
    """Say whether a text may be the value of a label."""
    return not text or _NAME.fullmatch(text) is not None


def parse_selector(text: str) -> Selector:
    """Read a selector; an empty text selects everything. Raises ValueError saying where it cannot be read."""
    if len(text) > _MAX_LENGTH:
        raise ValueError(f"a label selector has at most {_MAX_LENGTH} characters, this one has {len(text)}")
    tokens = _Tokens(text)
    if not tokens.next_is(""):
        found = [_requirement(tokens)]
        while tokens.take() == ",":
            found.append(_requirement(tokens))
        return Selector(tuple(found))
    return Selector()


class _Tokens:
    """The words of a selector, with one to look ahead; the end is an empty word."""

    def __init__(self, text: str) -> None:
        self._words = self._split(text)
        self._next = next(self._words)

    @staticmethod
    def _split(text: str) -> Iterator[str]:
        yield from _TOKEN.findall(text)
        while True:
            yield ""

    def next_is(self, *words: str) -> bool:
        return self._next in words

    def take(self) -> str:
        word, self._next = self._next, next(self._words)
        return word


def _requirement(tokens: _Tokens) -> Requirement:
    if tokens.next_is("!"):
        tokens.take()
        found = Requirement(_key(tokens), Operator.ABSENT)
    else:
        found = _with_operator(_key(tokens), tokens)
    if not tokens.next_is("", ","):
        raise ValueError(f"a comma is missing before {tokens.take()[:80]!r} in the label selector")
    return found


def _with_operator(key: str, tokens: _Tokens) -> Requirement:
    if tokens.next_is("", ","):
        return Requirement(key, Operator.EXISTS)
    match word := tokens.take():
        case "=" | "==":
            return Requirement(key, Operator.IN, frozenset({_value(tokens)}))
        case "!=":
            return Requirement(key, Operator.NOT_IN, frozenset({_value(tokens)}))
        case "in":
            return Requirement(key, Operator.IN, _values(tokens))
        case "notin":
            return Requirement(key, Operator.NOT_IN, _values(tokens))
        case _:
            raise ValueError(
                f"after {key!r} the label selector has {word[:80]!r}; =, ==, !=, in or notin can stand there"
            )


def _key(tokens: _Tokens) -> str:
    word = tokens.take()
    if not is_label_key(word):
        raise ValueError(f"{word[:80]!r} in the label selector is no key of a label")
    return word


def _value(tokens: _Tokens) -> str:
    # An empty value is one: `a=` selects what has the label with nothing in it.
    word = "" if tokens.next_is("", ",", ")") else tokens.take()
    if not is_label_value(word):
        raise ValueError(f"{word[:80]!r} in the label selector is no value of a label")
    return word


def _values(tokens: _Tokens) -> frozenset[str]:
    if tokens.take() != "(":
        raise ValueError("in and notin take a list in brackets in a label selector, such as (a,b)")
    found = {_value(tokens)}
    while (word := tokens.take()) == ",":
        found.add(_value(tokens))
    if word != ")":
        raise ValueError("a bracket is not closed in the label selector")
    return frozenset(found)
