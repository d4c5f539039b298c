"""The committed messages are those that flyteidl describes, and those that the generator writes."""

from __future__ import annotations

import dataclasses
import importlib
import shutil
import subprocess
import sys
import warnings
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import betterproto2
import grpc
import pytest
from betterproto2 import FieldMetadata
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.compiler import plugin_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from flytower.protocol import generate, routes
from flytower.protocol._descriptors import Sources
from flytower.protocol.generated import flyteidl as flyteidl_package
from flytower.protocol.generated.flyteidl import admin, core
from flytower.protocol.generated.grpc.health import v1 as health
from flytower.protocol.generated.message_pool import default_message_pool

if TYPE_CHECKING:
    from pathlib import Path

for module in ("flyteidl.service.agent_pb2", "grpc_health.v1.health_pb2"):
    importlib.import_module(module)

POOL = descriptor_pool.Default()
MESSAGES = {url.rpartition("/")[2]: kind for url, kind in default_message_pool.url_to_type.items()}
FULL_NAMES = {kind: name for name, kind in MESSAGES.items()}
SERVICES = (
    routes.ASYNC_AGENT_SERVICE,
    routes.SYNC_AGENT_SERVICE,
    routes.AGENT_METADATA_SERVICE,
    routes.HEALTH_SERVICE,
)
TYPE_NAMES = {
    getattr(FieldDescriptor, f"TYPE_{name.upper()}"): name
    for name in ["bool", "int32", "int64", "uint32", "uint64", "float", "double", "string", "bytes", "enum", "message"]
}


def fields_of(kind: type[betterproto2.Message]) -> dict[int, tuple[dataclasses.Field[Any], FieldMetadata, Any]]:
    hints = get_type_hints(kind, vars(sys.modules[kind.__module__]), {})
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]  # every generated message is a dataclass
    return {FieldMetadata.get(field).number: (field, FieldMetadata.get(field), hints[field.name]) for field in fields}


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def expected_group(field: FieldDescriptor) -> str | None:
    oneof = field.containing_oneof
    return oneof.name if oneof is not None and not oneof.name.startswith("_") else None


def check_target(field: FieldDescriptor, target: Any) -> None:
    """A message or enum field leads to the type of the same name, or with the same values."""
    if field.message_type is not None:
        assert FULL_NAMES[target] == field.message_type.full_name
    elif field.enum_type is not None:
        check_enum(field.enum_type, target)


def check_enum(descriptor: EnumDescriptor, target: type[betterproto2.Enum]) -> None:
    names = {value.number: value.name for value in descriptor.values}
    assert {member.value for member in target} == set(names)
    for member in target:
        assert names[member.value] == member.name or names[member.value].endswith(f"_{member.name}")


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_every_message_has_the_fields_that_its_descriptor_has(name: str) -> None:
    descriptor: Descriptor = POOL.FindMessageTypeByName(name)
    found = fields_of(MESSAGES[name])
    assert set(found) == {field.number for field in descriptor.fields}
    for field in descriptor.fields:
        python, meta, hint = found[field.number]
        assert python.name.replace("_", "") == field.name.replace("_", "").lower()
        assert meta.group == expected_group(field)
        if is_map(field):
            assert meta.proto_type == betterproto2.TYPE_MAP
            check_map(field, meta, hint)
            continue
        assert meta.proto_type == TYPE_NAMES[field.type]
        assert bool(meta.repeated) == field.is_repeated
        assert bool(meta.optional) == (field.has_presence and not field.is_repeated)
        check_target(field, get_args(hint)[0] if get_args(hint) else hint)


def check_map(field: FieldDescriptor, meta: FieldMetadata, hint: Any) -> None:
    assert meta.map_meta is not None
    entry: Any = field.message_type
    key, value = (entry.fields_by_name[name] for name in ("key", "value"))
    assert (meta.map_meta[0].number, meta.map_meta[0].proto_type) == (1, TYPE_NAMES[key.type])
    assert (meta.map_meta[1].number, meta.map_meta[1].proto_type) == (2, TYPE_NAMES[value.type])
    check_target(value, get_args(hint)[1])


def test_fields_stand_in_the_order_of_their_numbers_which_is_the_canonical_encoding() -> None:
    for kind in MESSAGES.values():
        assert list(fields_of(kind)) == sorted(fields_of(kind))


def test_the_closure_is_there_and_nothing_that_no_method_reaches() -> None:
    """Nothing huge and unused is imported: google.api, openapi, descriptor.proto."""
    seen: set[str] = set()
    waiting = [
        kind
        for service in SERVICES
        for method in POOL.FindServiceByName(service).methods
        for kind in (method.input_type, method.output_type)
    ]
    while waiting:
        descriptor = waiting.pop()
        if descriptor.full_name in seen:
            continue
        seen.add(descriptor.full_name)
        used = [field.message_type or field.enum_type for field in descriptor.fields]
        outer = [kind.containing_type for kind in (descriptor, *used) if kind is not None]  # of nested types
        waiting.extend(kind for kind in (*used, *outer) if isinstance(kind, Descriptor))
    assert set(MESSAGES) == {name for name in seen if not POOL.FindMessageTypeByName(name).GetOptions().map_entry}


@pytest.mark.parametrize("service", SERVICES)
def test_the_methods_of_a_service_are_those_of_its_descriptor(service: str) -> None:
    described = POOL.FindServiceByName(service).methods
    assert [
        (
            m.path,
            m.name,
            FULL_NAMES[m.request_type],
            FULL_NAMES[m.response_type],
            m.client_streaming,
            m.server_streaming,
        )
        for m in routes.service_methods(service)
    ] == [
        (
            f"/{service}/{m.name}",
            m.name,
            m.input_type.full_name,
            m.output_type.full_name,
            m.client_streaming,
            m.server_streaming,
        )
        for m in described
    ]


def test_a_service_that_is_not_served_has_no_methods() -> None:
    with pytest.raises(KeyError):
        routes.service_methods("flyteidl.service.AdminService")


def test_the_messages_are_importable_beside_the_real_packages_of_the_same_names() -> None:
    assert admin.CreateTaskRequest is MESSAGES["flyteidl.admin.CreateTaskRequest"]
    assert health.HealthCheckResponse is MESSAGES["grpc.health.v1.HealthCheckResponse"]
    assert "generated" in flyteidl_package.__name__
    assert hasattr(grpc, "insecure_channel")
    assert core.TaskExecutionPhase(8) is core.TaskExecutionPhase.RETRYABLE_FAILED


def test_importing_the_messages_loads_no_grpc_library_and_no_other_protobuf() -> None:
    """A message module that loaded grpclib ahead of trio_asyncio would break every call on Python 3.12."""
    program = (
        "import sys; import trio_asyncio; before = set(sys.modules); import flytower.protocol.routes; "
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "flytower" in done.stdout.split()
    assert not {"grpclib", "grpc", "google", "dateutil", "flyteidl"} & set(done.stdout.split())


def test_a_field_that_is_deprecated_in_flyte_is_set_without_a_warning() -> None:
    """Flyte 1 routes by supported_task_types, deprecated or not."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        agent = admin.Agent(name="a", supported_task_types=["spark"])
        assert admin.Agent.parse(bytes(agent)) == agent


@pytest.mark.slow
def test_the_committed_files_are_what_the_generator_writes(capsys: pytest.CaptureFixture[str]) -> None:
    assert generate.main(["--check"]) == 0, capsys.readouterr().err


@pytest.mark.slow
def test_the_check_names_each_file_that_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "generated"
    shutil.copytree(generate.GENERATED, target, ignore=shutil.ignore_patterns("__pycache__"))
    (target / "methods.py").unlink()
    (target / "left_over.py").write_text("")
    with (target / "flyteidl/core/__init__.py").open("a") as file:
        file.write("# edited by hand\n")
    assert generate.check(target) == 1
    said = capsys.readouterr().err
    assert "methods.py is missing" in said
    assert "left_over.py is not generated any more" in said
    assert "flyteidl/core/__init__.py differs" in said
    assert said.count("\n") == 3


@pytest.mark.slow
def test_writing_replaces_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "generated"
    target.mkdir()
    (target / "left_over.py").write_text("")
    assert generate.write(target) == 0
    assert generate.differences(target, generate.GENERATED) == {}


@pytest.mark.parametrize("missing", ["google.protobuf.descriptor_pb2", "flyteidl.service.agent_pb2"])
def test_without_a_development_dependency_it_says_what_to_install(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "flytower.protocol._descriptors", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    if missing.startswith("google"):
        monkeypatch.delattr("google.protobuf.descriptor_pb2")
    assert generate.main(["--check"]) == 1
    said = capsys.readouterr().err
    assert "is not installed" in said
    assert "pip install -e '.[dev]'" in said


def test_what_the_compiler_objects_to_is_reported() -> None:
    file = descriptor_pb2.FileDescriptorProto(name="m.proto", package="m")
    file.message_type.add(name="WithoutSourceInformation")
    with pytest.raises(generate.GenerateError, match=r"the compiler ended with 1: (?s:.*)ValueError"):
        generate._compile(Sources((file,), ()))
    with pytest.raises(generate.GenerateError, match=r"refused the descriptors: no such file"):
        generate._compiled_files(plugin_pb2.CodeGeneratorResponse(error="no such file").SerializeToString())
