"""Requests as they may be logged: secrets left out by the descriptor's own mark, and a bounded size.

What is secret is decided by the CSI option `csi_secret` alone, so that a field that a later version adds is covered
without a change here.
"""

from collections.abc import Iterable, Mapping
from typing import Any, cast

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from csi.pb import csi_pb2

HIDDEN = "***"
MAX_SHOWN_CHARACTERS = 512
MAX_SHOWN_ENTRIES = 32


class Redactor:
    """Turns messages into plain values without secrets. Remembers per message type which fields to hide."""

    def __init__(self) -> None:
        self._secrets: dict[str, frozenset[str]] = {}

    def redact(self, message: Message) -> dict[str, object]:
        """Give the set fields of a message by name; nested messages become dicts, enum values their names."""
        secrets = self._secret_fields(message)
        return {
            field.name: HIDDEN if field.name in secrets else self._value(field, value)
            for field, value in message.ListFields()
        }

    def _secret_fields(self, message: Message) -> frozenset[str]:
        descriptor = message.DESCRIPTOR
        known = self._secrets.get(descriptor.full_name)
        if known is None:
            known = frozenset(field.name for field in descriptor.fields if _is_secret(field))
            self._secrets[descriptor.full_name] = known
        return known

    def _value(self, field: FieldDescriptor, value: object) -> object:
        if isinstance(value, Mapping):
            return self._map(field, value)
        if field.is_repeated and isinstance(value, Iterable):
            values = list(value)
            shown = [self._single(field, entry) for entry in values[:MAX_SHOWN_ENTRIES]]
            return [*shown, f"… {len(values)} in all"] if len(values) > len(shown) else shown
        return self._single(field, value)

    def _map(self, field: FieldDescriptor, value: Mapping[str, object]) -> dict[str, object]:
        content = cast("Descriptor", field.message_type).fields_by_name["value"]
        shown = {_cut(str(key)): self._single(content, value[key]) for key in sorted(value)[:MAX_SHOWN_ENTRIES]}
        return {**shown, "…": f"{len(value)} in all"} if len(value) > len(shown) else shown

    def _single(self, field: FieldDescriptor, value: object) -> object:
        if isinstance(value, Message):
            return self.redact(value)
        if isinstance(value, str):
            return _cut(value)
        if isinstance(value, bytes):
            return f"{len(value)} bytes"
        if isinstance(value, int) and field.enum_type is not None:
            return _enum_name(field.enum_type, value)
        return value


def _is_secret(field: Any) -> bool:
    return bool(field.GetOptions().Extensions[csi_pb2.csi_secret])


def _enum_name(enum: EnumDescriptor, number: int) -> str | int:
    value = enum.values_by_number.get(number)
    return number if value is None else value.name


def _cut(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}… {len(text)} characters"
