"""What a setting can be: how its text is read, what is said when it is wrong, and how its default is shown.

A parser raises ValueError with the rest of the sentence "… is not a number: ". Single options of a program do not
belong here.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Generic, TypeVar

from process.address import TcpEndpoint, parse_host_port
from process.logs import LogFormat, LogLevel

Value = TypeVar("Value")
Word = TypeVar("Word", bound=Enum)


@dataclass(frozen=True, slots=True)
class OptionKind(Generic[Value]):
    """A type of setting; `name` is what the help and error texts call it."""

    name: str
    parse: Callable[[str], Value]
    show: Callable[[Value], str] = str
    is_switch: bool = False
    """May stand on the command line without a value, which means true."""

    @property
    def article(self) -> str:
        """The word before the name."""
        return "an" if self.name[0] in "aeiou" else "a"


def whole_number(*, least: int = 0, most: int = 2**63 - 1) -> OptionKind[int]:
    """Make the kind of whole numbers between two ends."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,19}", text) or not least <= int(text) <= most:
            raise ValueError(f"{least} to {most} is allowed")
        return int(text)

    return OptionKind("number", parse)


def decimal(*, least: float = 0.0) -> OptionKind[float]:
    """Make the kind of decimal numbers from `least` on."""

    def parse(text: str) -> float:
        value = float(text) if re.fullmatch(r"-?[0-9]{1,18}(\.[0-9]{1,18})?", text) else math.nan
        if not value >= least:
            raise ValueError(f"{least:g} or more is allowed, such as 2.5")
        return value

    return OptionKind("number", parse, "{:g}".format)


def choice(name: str, words: type[Word]) -> OptionKind[Word]:
    """Make the kind whose values are the values of an enum."""

    def parse(text: str) -> Word:
        for word in words:
            if word.value == text:
                return word
        raise ValueError("it must be " + " or ".join(str(word.value) for word in words))

    def show(word: Word) -> str:
        return str(word.value)

    return OptionKind(name, parse, show)


def _required_text(text: str) -> str:
    if not text:
        raise ValueError("it is empty")
    return text


def _switch(text: str) -> bool:
    values = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in values:
        raise ValueError("it must be true or false")
    return values[text.lower()]


def _show_switch(value: bool) -> str:  # noqa: FBT001 - a callback for one value of this kind
    return "true" if value else "false"


def _path(text: str) -> Path:
    if not text.startswith("/") or "\0" in text:
        raise ValueError("an absolute path is needed")
    return Path(text)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _mode(text: str) -> int:
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise ValueError("three octal digits are needed, such as 600")
    return int(text, 8)


def _host_port(text: str) -> TcpEndpoint | None:
    return None if text == "off" else parse_host_port(text)


def _show_host_port(value: TcpEndpoint | None) -> str:
    return "off" if value is None else value.authority


_DURATION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?|([0-9]{1,9}(\.[0-9]{1,9})?(ms|s|m|h)){1,4}")
_PART_OF_DURATION = re.compile(r"([0-9.]+)(ms|s|m|h|)")
_SECONDS_OF_UNIT = {"": 1.0, "s": 1.0, "ms": 0.001, "m": 60.0, "h": 3600.0}


def _duration(text: str) -> float:
    if not _DURATION.fullmatch(text):
        raise ValueError("seconds are needed, or numbers with ms, s, m or h, such as 1m30s")
    return sum(float(number) * _SECONDS_OF_UNIT[unit] for number, unit in _PART_OF_DURATION.findall(text))


TEXT: OptionKind[str] = OptionKind("text", str)
REQUIRED_TEXT: OptionKind[str] = OptionKind("text", _required_text)
SWITCH: OptionKind[bool] = OptionKind("switch", _switch, _show_switch, is_switch=True)
NUMBER: OptionKind[int] = whole_number()
DECIMAL: OptionKind[float] = decimal()
DURATION: OptionKind[float] = OptionKind("duration", _duration, "{:.12g}".format)
PATH: OptionKind[Path] = OptionKind("path", _path)
WORDS: OptionKind[tuple[str, ...]] = OptionKind("list", _words, ",".join)
MODE: OptionKind[int] = OptionKind("mode", _mode, "{:03o}".format)
OPTIONAL_HOST_PORT: OptionKind[TcpEndpoint | None] = OptionKind("address", _host_port, _show_host_port)
LOG_LEVEL: OptionKind[LogLevel] = choice("level", LogLevel)
LOG_FORMAT: OptionKind[LogFormat] = choice("format", LogFormat)
