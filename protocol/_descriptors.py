"""The part of flyteidl's descriptors that the messages are generated from.

The descriptors are those inside the packages `flyteidl` and `grpcio-health-checking`. What is handed to the compiler is
cut down to what the served methods can reach, and three things are taken away that would make the output worse:

- the order of declaration: fields are put in the order of their numbers, because betterproto2 writes them as declared
  and protobuf's canonical encoding is by number;
- options: the mark `deprecated` becomes a warning at run time, while Flyte 1 has to be served with these very fields;
- services: the compiler's base classes import grpclib, which must not be loaded before trio_asyncio.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FieldDescriptor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor, EnumDescriptor, FileDescriptor, MethodDescriptor

DESCRIPTOR_MODULES = ("flyteidl.service.agent_pb2", "grpc_health.v1.health_pb2")
"""Importing these puts the descriptors into protobuf's default pool."""

SERVICES = (
    "flyteidl.service.AsyncAgentService",
    "flyteidl.service.SyncAgentService",
    "flyteidl.service.AgentMetadataService",
    "grpc.health.v1.Health",
)
"""The services that are served; everything generated is reached from their methods."""

Type: TypeAlias = "Descriptor | EnumDescriptor"


@dataclass(frozen=True)
class Sources:
    """What there is to generate.

    Args:
        files: The cut-down descriptors, each after those it depends on.
        methods: Every method of every service of SERVICES, in the order of declaration.
    """

    files: tuple[descriptor_pb2.FileDescriptorProto, ...]
    methods: tuple[MethodDescriptor, ...]


def load_sources() -> Sources:
    """Read the descriptors that are installed and cut them down."""
    for module in DESCRIPTOR_MODULES:
        importlib.import_module(module)
    pool = descriptor_pool.Default()
    services = [pool.FindServiceByName(name) for name in SERVICES]
    methods = tuple(method for service in services for method in service.methods)
    wanted = reachable_types(methods)
    owners = sorted({kind.file.name: kind.file for kind in wanted.values()}.items())
    files = _in_dependency_order([file for _, file in owners])
    return Sources(tuple(_cut_file(file, set(wanted)) for file in files), methods)


def reachable_types(methods: tuple[MethodDescriptor, ...]) -> dict[str, Type]:
    """Return every message and enum that a request or response can contain, by its full name."""
    found: dict[str, Type] = {}
    waiting: list[Type] = [kind for method in methods for kind in (method.input_type, method.output_type)]
    while waiting:
        kind = waiting.pop()
        if kind.full_name not in found:
            found[kind.full_name] = kind
            waiting.extend(_used_by(kind))
    return found


def _used_by(kind: Type) -> Iterator[Type]:
    if kind.containing_type is not None:
        yield kind.containing_type
    for field in getattr(kind, "fields", ()):
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            yield field.message_type
        elif field.type == FieldDescriptor.TYPE_ENUM:
            yield field.enum_type


def _in_dependency_order(files: list[FileDescriptor]) -> list[FileDescriptor]:
    ordered: dict[str, FileDescriptor] = {}

    def visit(file: FileDescriptor) -> None:
        for dependency in file.dependencies:
            visit(dependency)
        ordered.setdefault(file.name, file)

    for file in files:
        visit(file)
    names = {file.name for file in files}
    return [file for name, file in ordered.items() if name in names]


def _cut_file(file: FileDescriptor, wanted: set[str]) -> descriptor_pb2.FileDescriptorProto:
    source = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(source)
    cut = descriptor_pb2.FileDescriptorProto(name=source.name, package=source.package, syntax=source.syntax)
    cut.enum_type.extend(_cut_enum(enum) for enum in source.enum_type if f"{source.package}.{enum.name}" in wanted)
    for message in source.message_type:
        if f"{source.package}.{message.name}" in wanted:
            cut.message_type.append(_cut_message(message, source.package, wanted))
    cut.source_code_info.SetInParent()  # the compiler looks for comments there and fails without the field
    return cut


def _cut_message(
    source: descriptor_pb2.DescriptorProto, parent: str, wanted: set[str]
) -> descriptor_pb2.DescriptorProto:
    name = f"{parent}.{source.name}"
    cut = descriptor_pb2.DescriptorProto(name=source.name)
    cut.options.map_entry = source.options.map_entry
    cut.field.extend(_cut_field(field) for field in sorted(source.field, key=lambda field: field.number))
    cut.oneof_decl.extend(descriptor_pb2.OneofDescriptorProto(name=oneof.name) for oneof in source.oneof_decl)
    cut.enum_type.extend(_cut_enum(enum) for enum in source.enum_type if f"{name}.{enum.name}" in wanted)
    for nested in source.nested_type:
        if f"{name}.{nested.name}" in wanted:
            cut.nested_type.append(_cut_message(nested, name, wanted))
    return cut


def _cut_field(source: descriptor_pb2.FieldDescriptorProto) -> descriptor_pb2.FieldDescriptorProto:
    cut = descriptor_pb2.FieldDescriptorProto()
    cut.CopyFrom(source)
    cut.ClearField("options")
    return cut


def _cut_enum(source: descriptor_pb2.EnumDescriptorProto) -> descriptor_pb2.EnumDescriptorProto:
    cut = descriptor_pb2.EnumDescriptorProto()
    cut.CopyFrom(source)
    cut.ClearField("options")
    for value in cut.value:
        value.ClearField("options")
    return cut
