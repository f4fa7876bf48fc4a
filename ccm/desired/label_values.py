"""The platform's names as values of labels, and back (pure).

A value that Kubernetes allows stays as it is. In any other each byte that is not allowed where it stands becomes `x.`
and two hexadecimal digits, and so does the `x` of a text that looks like such an escape already.
"""

import re

from ccm.desired.selector import is_label_value

MAX_LABEL_VALUE = 63
_ESCAPE = re.compile(r"x\.([0-9a-f]{2})")
_ALNUM = re.compile(rb"[A-Za-z0-9]")
_INNER = re.compile(rb"[A-Za-z0-9_.-]")


def label_value(text: str) -> str:
    """Give the value for a text. Raises ValueError when it is longer than a label can hold."""
    plain = _ESCAPE.sub(lambda found: f"x.78.{found[1]}", text)
    raw = plain.encode()
    value = "".join(_escaped(raw, index) for index in range(len(raw)))
    if not is_label_value(value):
        raise ValueError(f"{text[:80]!r} is too long for the value of a label, which has {MAX_LABEL_VALUE} characters")
    return value


def from_label_value(value: str) -> str:
    """Give the text that `label_value` made this value of."""
    raw = re.sub(rb"x\.([0-9a-f]{2})", lambda found: bytes([int(found[1], 16)]), value.encode())
    return raw.decode(errors="replace")


def _escaped(raw: bytes, index: int) -> str:
    byte = raw[index : index + 1]
    allowed = _INNER if 0 < index < len(raw) - 1 else _ALNUM
    return byte.decode() if allowed.fullmatch(byte) else f"x.{byte[0]:02x}"
