"""File descriptors as plain facts, so that two sources of the same protocol can be compared and every difference named.

What does not reach the wire or a program that uses it is left out: file names, the order of declarations, comments.
"""

from collections.abc import Iterable

from google.protobuf import descriptor_pb2

Facts = dict[str, str]


def facts_of(file: descriptor_pb2.FileDescriptorProto) -> Facts:
    """Give every fact of a file as path → text."""
    facts: Facts = {
        "package": file.package,
        "syntax": file.syntax,
        "edition": str(file.edition),
        "options": _options(file.options),
        "imports": " ".join(sorted(file.dependency)),
    }
    for extension in file.extension:
        facts[f"extension {extension.extendee} {extension.name}"] = _field(extension, ())
    for message in file.message_type:
        _add_message(facts, message, message.name)
    for enum in file.enum_type:
        _add_enum(facts, enum, enum.name)
    for service in file.service:
        _add_service(facts, service)
    return facts


def default_json_name(name: str) -> str:
    """Give the JSON name that a field has when its descriptor does not carry one."""
    first, *rest = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)


def differences(ours: Facts, theirs: Facts) -> list[str]:
    """Name every fact that only one side has, or that differs."""
    return [
        f"{key}: ours {ours.get(key, 'missing')!r}, published {theirs.get(key, 'missing')!r}"
        for key in sorted(ours.keys() | theirs.keys())
        if ours.get(key) != theirs.get(key)
    ]


def _add_message(facts: Facts, message: descriptor_pb2.DescriptorProto, path: str) -> None:
    oneofs = [oneof.name for oneof in message.oneof_decl]
    facts[f"message {path}"] = " ".join(
        [
            _options(message.options),
            f"oneofs={sorted(oneofs)}",
            f"oneof options={[_options(oneof.options) for oneof in message.oneof_decl]}",
            f"reserved={sorted((r.start, r.end) for r in message.reserved_range)}{sorted(message.reserved_name)}",
            f"extension ranges={len(message.extension_range)}",
        ]
    )
    for field in message.field:
        facts[f"field {path}.{field.name}"] = _field(field, oneofs)
    for extension in message.extension:
        facts[f"extension {path} {extension.extendee} {extension.name}"] = _field(extension, oneofs)
    for nested in message.nested_type:
        _add_message(facts, nested, f"{path}.{nested.name}")
    for enum in message.enum_type:
        _add_enum(facts, enum, f"{path}.{enum.name}")


def _field(field: descriptor_pb2.FieldDescriptorProto, oneofs: Iterable[str]) -> str:
    names = list(oneofs)
    oneof = names[field.oneof_index] if field.HasField("oneof_index") else ""
    return " ".join(
        [
            f"number={field.number}",
            f"type={field.Type.Name(field.type)}",
            f"type_name={field.type_name}",
            f"label={field.Label.Name(field.label)}",
            f"json={field.json_name or default_json_name(field.name)}",
            f"optional={field.proto3_optional}",
            f"oneof={oneof}",
            f"default={field.default_value}",
            _options(field.options),
        ]
    )


def _add_enum(facts: Facts, enum: descriptor_pb2.EnumDescriptorProto, path: str) -> None:
    reserved = sorted((r.start, r.end) for r in enum.reserved_range)
    facts[f"enum {path}"] = f"{_options(enum.options)} reserved={reserved}{sorted(enum.reserved_name)}"
    for value in enum.value:
        facts[f"value {path}.{value.name}"] = f"number={value.number} {_options(value.options)}"


def _add_service(facts: Facts, service: descriptor_pb2.ServiceDescriptorProto) -> None:
    facts[f"service {service.name}"] = _options(service.options)
    for method in service.method:
        streaming = f"streaming={method.client_streaming}/{method.server_streaming}"
        facts[f"method {service.name}.{method.name}"] = " ".join(
            [method.input_type, method.output_type, streaming, _options(method.options)]
        )


def _options(options: object) -> str:
    # Options are compared as bytes: our process knows the CSI extensions, and would hide an unknown one as text.
    serialized: bytes = options.SerializeToString(deterministic=True)  # type: ignore[attr-defined]
    return f"options={serialized.hex()}"
