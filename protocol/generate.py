"""Write the messages in protocol/generated: `python -m flytower.protocol.generate [--check]`.

The sources are the descriptors inside the installed packages flyteidl and grpcio-health-checking, so an upgrade of
these, or of the compiler, is followed by a run of this command. `--check` writes nothing and fails when what is
committed is not what would be written. All it needs is in the development extra.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.descriptor import Descriptor, MethodDescriptor

    from flytower.protocol._descriptors import Sources

GENERATED = Path(__file__).parent / "generated"
PACKAGE = "flytower.protocol.generated"
COMPILER_SECONDS = 120.0
"""How long the compiler may take: it needs about two seconds, and a machine under load gets its share."""
COMPILER_MESSAGE_CHARACTERS = 2000
"""How much of what the compiler said goes into an error: the end of a traceback, not the whole of it."""

EAGER = (
    ("from dataclasses import dataclass\n", "from flytower.protocol.deferred import message\n"),
    ("@dataclass(eq=False, repr=False)\n", "@message\n"),
)
"""What the compiler writes, and what stands there instead: see `flytower.protocol.deferred`."""

PACKAGE_INIT = '"""Messages and methods of Flyte and of gRPC health: written by flytower.protocol.generate."""\n'

METHODS_HEADER = '''"""Every method of every service that is served: written by flytower.protocol.generate."""

from __future__ import annotations

from betterproto2 import Message

'''


class GenerateError(Exception):
    """The messages could not be generated. The message says what is missing or what the compiler objected to."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit code: 0, or 1 when `--check` found a difference or nothing could be generated.
    """
    parser = argparse.ArgumentParser(prog="python -m flytower.protocol.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail when the committed files differ")
    options = parser.parse_args(arguments)
    try:
        return check(GENERATED) if options.check else write(GENERATED)
    except GenerateError as error:
        sys.stderr.write(f"generate: {error}\n")
        return 1


def write(target: Path) -> int:
    """Replace what is in `target` by freshly generated files, and return the exit code."""
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch) / "generated"
        generate(fresh)
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(fresh, target)
    sys.stdout.write(f"generate: {len(_files(target))} files written to {target}\n")
    return 0


def check(target: Path) -> int:
    """Name each file of `target` that is not what would be generated, and return the exit code."""
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch) / "generated"
        generate(fresh)
        differing = differences(fresh, target)
    for name, what in differing.items():
        sys.stderr.write(f"generate: {target / name} {what}; run python -m flytower.protocol.generate\n")
    return 1 if differing else 0


def differences(fresh: Path, committed: Path) -> dict[str, str]:
    """Return, for each file that is not the same in both folders, in what way it differs."""
    new, old = _files(fresh), _files(committed)
    found = dict.fromkeys(new - old, "is missing") | dict.fromkeys(old - new, "is not generated any more")
    _, different, unreadable = filecmp.cmpfiles(fresh, committed, new & old, shallow=False)
    return dict(sorted((found | dict.fromkeys([*different, *unreadable], "differs")).items()))


def _files(folder: Path) -> set[str]:
    every = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in every if "__pycache__" not in path.parts}


def generate(target: Path) -> None:
    """Write the package into the new folder `target`.

    Raises:
        GenerateError: A development dependency is missing, or the compiler failed.
    """
    try:
        from flytower.protocol._descriptors import load_sources  # noqa: PLC0415 - needs development dependencies
    except ImportError as error:
        raise _missing(error) from error
    try:
        sources = load_sources()
    except ImportError as error:
        raise _missing(error) from error
    target.mkdir(parents=True)
    for name, content in _compile(sources).items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(deferred(content), encoding="utf-8")
    (target / "__init__.py").write_text(PACKAGE_INIT, encoding="utf-8")
    (target / "methods.py").write_text(methods_module(sources.methods), encoding="utf-8")


def deferred(source: str) -> str:
    """Return a module of messages with each of them a dataclass from its first use on.

    Raises:
        GenerateError: The compiler writes something else than it did.
    """
    for eager, lazy in EAGER:
        source = source.replace(eager, lazy)
    if "@dataclass" in source:
        raise GenerateError("the compiler writes dataclasses in another form; see EAGER in this module")
    return source


def _missing(error: ImportError) -> GenerateError:
    return GenerateError(f"{error.name} is not installed; install the development extra: pip install -e '.[dev]'")


def _compile(sources: Sources) -> dict[str, str]:
    """Have the compiler turn descriptors into files: their names and contents."""
    from google.protobuf.compiler import plugin_pb2  # noqa: PLC0415 - a development dependency

    request = plugin_pb2.CodeGeneratorRequest(
        file_to_generate=[file.name for file in sources.files],
        proto_file=sources.files,
        parameter="client_generation=none,server_generation=none",
    )
    return _compiled_files(_run_compiler(request.SerializeToString()))


def _compiled_files(answer: bytes) -> dict[str, str]:
    from google.protobuf.compiler import plugin_pb2  # noqa: PLC0415 - a development dependency

    response = plugin_pb2.CodeGeneratorResponse.FromString(answer)
    if response.error:
        raise GenerateError(f"the compiler refused the descriptors: {response.error}")
    return {file.name: file.content for file in response.file if file.name != "py.typed"}


def _run_compiler(request: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        # The compiler formats by calling ruff, which takes its settings from the nearest file: here, its defaults.
        (Path(folder) / "ruff.toml").touch()
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        done = subprocess.run(
            [sys.executable, "-m", "flytower.protocol._plugin"],
            input=request,
            capture_output=True,
            check=False,
            cwd=folder,
            env={**os.environ, "PATH": path},
            timeout=COMPILER_SECONDS,
        )
    if done.returncode:
        said = done.stderr.decode(errors="replace")[-COMPILER_MESSAGE_CHARACTERS:]
        raise GenerateError(f"the compiler ended with {done.returncode}: {said}")
    return done.stdout


def methods_module(methods: Sequence[MethodDescriptor]) -> str:
    """Return the source of the module that lists each method with its types and the directions that stream."""
    kinds = [kind for method in methods for kind in (method.input_type, method.output_type)]
    packages = sorted({kind.file.package for kind in kinds})
    imports = "".join(f"import {PACKAGE}.{package} as {_alias(package)}\n" for package in packages)
    rows = "".join(_method_row(method) for method in methods)
    table = "METHODS: tuple[tuple[str, str, type[Message], type[Message], bool, bool], ...] = (\n"
    legend = "    # service, method, request, response, the client streams, the server streams\n"
    return f"{METHODS_HEADER}{imports}\n{table}{legend}{rows})\n"


def _method_row(method: MethodDescriptor) -> str:
    kinds = f"{_python_name(method.input_type)}, {_python_name(method.output_type)}"
    streams = f"{method.client_streaming}, {method.server_streaming}"
    return f'    ("{method.containing_service.full_name}", "{method.name}", {kinds}, {streams}),\n'


def _alias(package: str) -> str:
    return package.replace(".", "_")


def _python_name(message: Descriptor) -> str:
    return f"{_alias(message.file.package)}.{message.name}"


if __name__ == "__main__":
    raise SystemExit(main())
