"""What a shell task asks for: the command, its environment and its working folder."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from flytower.connectors.errors import InvalidRequest
from flytower.protocol.codec import struct_to_dict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flytower.protocol.generated.flyteidl.admin import TaskExecutionMetadata
    from flytower.protocol.generated.flyteidl.core import TaskTemplate

INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")
"""What a job gets of the server's environment. The rest may hold the server's own credentials."""


_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class ShellCommand(NamedTuple):
    """A checked command.

    Args:
        arguments: The program and its arguments.
        env: What the task adds to the environment.
        cwd: Where it runs; None for the job's own folder.
    """

    arguments: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path | None

    def environment(self) -> dict[str, str]:
        """Return the whole environment of the command."""
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        return {**inherited, **self.env}


def command_of(template: TaskTemplate, metadata: TaskExecutionMetadata | None) -> ShellCommand:
    """Return what a task asks for: `custom.command` (a list, or a string for `sh -c`), else the container's.

    `custom.env` and `custom.cwd` go with either. Variables come from the execution's metadata, the container and
    `custom.env`; the later one wins.

    Raises:
        InvalidRequest: There is no command, or a part of it is not what it must be.
    """
    custom = struct_to_dict(template.custom, "custom") if template.custom else {}
    arguments = _from_custom(custom["command"]) if "command" in custom else _from_container(template)
    env = dict(metadata.environment_variables) if metadata is not None else {}
    if template.container is not None:
        env |= {pair.key: pair.value for pair in template.container.env}
    env |= _custom_env(custom.get("env"))
    return ShellCommand(_checked_arguments(arguments), _checked_env(env), _checked_cwd(custom.get("cwd")))


def _from_custom(command: Any) -> list[str]:
    if isinstance(command, str):
        if not command.strip():
            raise InvalidRequest("custom.command is empty")
        return ["sh", "-c", command]
    if isinstance(command, list) and command:
        return [_word(item, "custom.command") for item in command]
    raise InvalidRequest("custom.command must be a string for `sh -c`, or a list of words")


def _from_container(template: TaskTemplate) -> list[str]:
    container = template.container
    words = [] if container is None else [*container.command, *container.args]
    if not words:
        raise InvalidRequest("there is nothing to run: give the task a custom.command, or a container with args")
    return words


def _custom_env(env: Any) -> dict[str, str]:
    if env is None:
        return {}
    if not isinstance(env, dict):
        raise InvalidRequest("custom.env must be a dictionary of strings")
    return {name: _word(value, f"custom.env.{name}") for name, value in env.items()}


def _word(value: Any, where: str) -> str:
    """Return a word of a command; a number is one, because a task's config cannot always say "5"."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise InvalidRequest(f"{where} must hold strings, not {type(value).__name__}")


def _checked_arguments(arguments: list[str]) -> tuple[str, ...]:
    _refuse_nul(arguments, "the command")
    if not arguments[0] or arguments[0].startswith("-"):
        raise InvalidRequest(f"the command begins with {arguments[0]!r}, which is no program")
    return tuple(arguments)


def _checked_env(env: dict[str, str]) -> dict[str, str]:
    _refuse_nul([*env, *env.values()], "the environment")
    for name in env:
        if not _ENV_NAME.fullmatch(name):
            raise InvalidRequest(f"{name!r} is no name for an environment variable: a shell would drop it")
    return env


def _checked_cwd(cwd: Any) -> Path | None:
    if cwd is None:
        return None
    if not isinstance(cwd, str) or not cwd.startswith("/"):
        raise InvalidRequest("custom.cwd must be an absolute path")
    _refuse_nul([cwd], "custom.cwd")
    return Path(cwd)


def _refuse_nul(words: Iterable[str], where: str) -> None:
    """Refuse what no system call could take: NUL, and halves of surrogate pairs."""
    for word in words:
        if "\0" in word or (not word.isascii() and any("\ud800" <= character <= "\udfff" for character in word)):
            raise InvalidRequest(f"{where} holds a character that no command can have")
