"""Where settings come from.

A setting is looked for in this order: a flag, the environment (`FLYTOWER_PORT`), a TOML file (`port = 8000`), its
default; a limit in `[limits]` of the file, and in the environment under `FLYTOWER_LIMITS_...`. A key that nobody knows
is refused, since it is a setting that its writer believes to be in force.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from flytower.protocol.limits import Limits
from flytower.setting_values import from_text, from_toml
from flytower.settings import LIMITS, PREFIX, Settings, SettingsError, catalogue

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

CONFIG_VARIABLE: Final = "FLYTOWER_CONFIG"
"""The variable that names the TOML file when no flag does."""

ELSEWHERE: Final = frozenset({CONFIG_VARIABLE, "FLYTOWER_ENDPOINT", "FLYTOWER_SHELL_ROOT"})
"""Variables with our prefix that are read elsewhere: the file, the client commands' server, the shell connector."""

# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_LINK: Final = re.compile(r"FLYTOWER_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)")
_LINK_VALUE: Final = re.compile(r"(tcp|udp|sctp)://")


class _Given(NamedTuple):
    """A value that somebody has set, and where."""

    value: Any
    origin: str


def load(flags: Mapping[str, Any], environ: Mapping[str, str], config: Path | None = None) -> Settings:
    """Put the settings together.

    Args:
        flags: What the command line says, by name: text, or a value of the setting's type; None for what it leaves out.
        environ: The environment.
        config: The TOML file; otherwise the one that `FLYTOWER_CONFIG` names, if it does.

    Raises:
        SettingsError: Something cannot be used; it says everything that is wrong.
    """
    problems: list[str] = []
    given: dict[str, _Given] = {}
    named = environ.get(CONFIG_VARIABLE)
    path = config or (Path(named) if named else None)
    if path is not None:
        given.update(_from_file(path, problems))
    given.update(_from_environment(environ, problems))
    given.update(_from_flags(flags, problems))
    own = {name: each.value for name, each in given.items() if "." not in name}
    own[LIMITS] = _limits({name: each for name, each in given.items() if "." in name}, problems)
    try:
        settings = Settings(**own, origins={name: each.origin for name, each in given.items()})
    except SettingsError as error:
        problems.extend(error.problems)
    if problems:
        raise SettingsError(problems)
    return settings


def _limits(given: Mapping[str, _Given], problems: list[str]) -> Limits:
    """Try each alone, so that every wrong one is named; together they may still contradict each other."""
    right: dict[str, Any] = {}
    for name, (value, origin) in given.items():
        own = name.partition(".")[2]
        try:
            Limits(**{own: value})
            right[own] = value
        except ValueError as error:
            problems.append(f"{error} ({origin})")
    try:
        return Limits(**right)
    except ValueError as error:
        problems.append(str(error))
        return Limits()


def _from_flags(flags: Mapping[str, Any], problems: list[str]) -> Iterator[tuple[str, _Given]]:
    kinds = {key.name: key.kind for key in catalogue()}
    for name, value in flags.items():
        if value is None:
            continue
        flag = f"--{name.replace('_', '-')}"
        try:
            typed = from_text(kinds[name], value) if isinstance(value, str) else value
            yield name, _Given(typed, f"the flag {flag}")
        except ValueError as error:
            problems.append(f"{flag} {error}.")


def _from_environment(environ: Mapping[str, str], problems: list[str]) -> Iterator[tuple[str, _Given]]:
    keys = {key.variable: key for key in catalogue()}
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or variable in ELSEWHERE or is_service_link(variable, text):
            continue
        key = keys.get(variable)
        if key is None:
            problems.append(_unknown("environment variable", variable, [*keys, *ELSEWHERE], PREFIX))
            continue
        try:
            yield key.name, _Given(from_text(key.kind, text), variable)
        except ValueError as error:
            problems.append(f"{variable} {error}.")


def is_service_link(variable: str, text: str) -> bool:
    """Whether Kubernetes has set this variable.

    It gives every pod variables for each service of its namespace, named after the service. A service that is called
    flytower must not keep its own pods from starting.
    """
    return bool(_LINK.fullmatch(variable) or (variable.endswith("_PORT") and _LINK_VALUE.match(text)))


def _from_file(path: Path, problems: list[str]) -> Iterator[tuple[str, _Given]]:
    import tomllib  # noqa: PLC0415 - only a file needs it

    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        problems.append(f"The configuration {path} cannot be read: {error}.")
        return
    limits = data.pop(LIMITS, {})
    if not isinstance(limits, dict):
        problems.append(f"{path}: limits must be a table, [limits].")
        limits = {}
    keys = {key.name: key for key in catalogue()}
    for name, value in [*data.items(), *((f"{LIMITS}.{name}", value) for name, value in limits.items())]:
        key = keys.get(name)
        if key is None:
            problems.append(f"{path}: " + _unknown("key", name, keys))
            continue
        try:
            yield name, _Given(from_toml(key.kind, value), f"{name} in {path}")
        except ValueError as error:
            problems.append(f"{path}: {name} {error}.")


def _unknown(what: str, name: str, known: Iterable[str], prefix: str = "") -> str:
    import difflib  # noqa: PLC0415 - only a mistake needs it

    nearest = difflib.get_close_matches(name.removeprefix(prefix), [each.removeprefix(prefix) for each in known], n=1)
    advice = f"did you mean {prefix}{nearest[0]}?" if nearest else "see `flytower settings`."
    return f"There is no {what} {name}; {advice}"
