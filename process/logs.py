"""How log lines look: JSON or text, one line per event, each with the id of the request that it belongs to.

Code logs with the standard library; figures and names go into `extra={"fields": {…}}` and become JSON members or
`key=value` words. What is logged is decided where it happens; keeping secrets out is up to who logs.
"""

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any, TextIO

from process.request import request_id


class LogFormat(Enum):
    """The two ways to write a line."""

    JSON = "json"
    TEXT = "text"


class LogLevel(Enum):
    """From most to least."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def configure_logging(
    *, level: LogLevel = LogLevel.INFO, form: LogFormat = LogFormat.TEXT, stream: TextIO | None = None
) -> None:
    """Send all log lines of the process to `stream` (standard error), replacing what was configured before."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if form is LogFormat.JSON else TextFormatter())
    logging.basicConfig(level=level.name, handlers=[handler], force=True)
    for chatty in ("asyncio", "httpx", "httpcore"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record; values that JSON does not know are written as their text."""
        entry: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if identity := request_id.get():
            entry["request_id"] = identity
        entry.update(_fields(record))
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """One line for people; only a traceback adds more."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record; line ends in the message or a value are escaped, so none can pass for another record."""
        words = [_time(record), record.levelname, record.name + ":", _escaped(record.getMessage())]
        if identity := request_id.get():
            words.append(f"request_id={identity}")
        words += [f"{key}={_word(value)}" for key, value in _fields(record).items()]
        line = " ".join(words)
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _fields(record: logging.LogRecord) -> Mapping[str, Any]:
    fields = getattr(record, "fields", None)
    return fields if isinstance(fields, Mapping) else {}


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _word(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    if isinstance(value, str) and (not text or any(mark in text for mark in ' "=')):
        text = json.dumps(text, ensure_ascii=False)
    return _escaped(text)


def _escaped(text: str) -> str:
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
