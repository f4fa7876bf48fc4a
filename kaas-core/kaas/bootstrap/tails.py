"""The end of a machine's log, made fit to be stored and shown: short, plain characters, nothing secret."""

import re

MAX_TAIL_BYTES = 16 * 1024
_HIDDEN = "[hidden]"
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)")
"""Colours and titles of terminals."""
_SECRETS = (
    re.compile(r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)"),
    re.compile(r"(?<![a-z0-9.])[a-z0-9]{6}\.[a-z0-9]{16}(?![a-z0-9.])"),
    re.compile(r"(?i)(?<=bearer )[A-Za-z0-9._~+/=-]{8,}"),
    re.compile(r"(?<=--certificate-key )[0-9a-f]{64}"),
)
"""Private keys, tokens that nodes join with, tokens in HTTP headers, keys of uploaded certificates."""


def tail(text: str, *, limit_bytes: int = MAX_TAIL_BYTES) -> str:
    """Give the end of a log without control characters and secrets, cut at a line where there is one to cut at."""
    # Hidden before anything is cut: what begins before the cut would not be known for what it is.
    for secret in _SECRETS:
        text = secret.sub(_HIDDEN, text)
    text = _ESCAPES.sub("", text).replace("\r\n", "\n")
    kept = "".join(one if one.isprintable() or one == "\n" else " " if one == "\t" else "" for one in text)
    encoded = kept.encode("utf-8", "replace")
    if len(encoded) <= limit_bytes:
        return encoded.decode()
    end = encoded[-limit_bytes:].decode("utf-8", "ignore")
    _, newline, whole_lines = end.partition("\n")
    return whole_lines if newline and whole_lines else end
