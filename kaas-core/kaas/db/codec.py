"""Values of the domain as JSON text. A field that came later and is not there reads as its default."""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from kaas.domain.errors import Code, KaasError
from kaas.domain.model import ClusterSpec

Value = TypeVar("Value")


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


_ENCODER = msgspec.json.Encoder(enc_hook=_plain)
_SPEC = msgspec.json.Decoder(ClusterSpec)


def to_json(value: object) -> str:
    """Write a value."""
    return _ENCODER.encode(value).decode()


def from_json(text: str, kind: type[Value]) -> Value:
    """Read a value of a type. Raises KaasError when it is none."""
    return _read(msgspec.json.Decoder(kind), text)


def spec_to_json(spec: ClusterSpec) -> str:
    """Write what is wanted of a cluster."""
    return to_json(spec)


def spec_from_json(text: str) -> ClusterSpec:
    """Read what is wanted of a cluster. Raises KaasError when it is something else."""
    return _read(_SPEC, text)


def _read(decoder: msgspec.json.Decoder[Value], text: str) -> Value:
    try:
        return decoder.decode(text)
    except msgspec.MsgspecError as error:
        raise KaasError(Code.BUG, f"a stored {decoder.type} cannot be read: {error}") from error
