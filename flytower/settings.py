"""What an operator can set, and what it may be.

The limits of `flytower.protocol.limits` are settings too. Everything is checked before anything starts, and every
problem is told at once. Where settings come from is in `setting_sources`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping  # noqa: TC003 - the annotations are read at run time
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, get_type_hints

from flytower.connectors.policy import RETENTION
from flytower.protocol.limits import Limits
from flytower.runtime.watchdog import LATE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PREFIX: Final = "FLYTOWER_"
"""How the environment's variables begin."""

LIMITS: Final = "limits"
"""The table of the file, and the part of the variables' names, that the limits have."""

DEFAULT: Final = "default"
"""The origin of a setting that nobody has set."""

_HOME: Final = "sqlite:///~/"
_PASSWORD: Final = re.compile(r"://([^:/@]*):.*@")
_PASSWORD_IN_QUERY: Final = re.compile(r"([?&][^=&]*pass[^=&]*)=[^&]*", re.IGNORECASE)

LEVELS: Final = ("debug", "info", "warning", "error", "critical")

FORMATS: Final = ("auto", "console", "json")

LEDGERS: Final = ("sqlite:///", "postgresql://", "memory://")
"""How the URLs of ledgers begin."""

MAX_PORT: Final = 65535

MIN_GRACE: Final = 2.0
"""Seconds. A tree with nothing to wait for stops in a tenth of it, also on a busy machine."""

MAX_GRACE: Final = 3600.0
"""Seconds. Longer than that is a mistyped figure: no orchestrator waits so long."""


class SettingsError(Exception):
    """What an operator has set cannot be used. `problems` has a sentence for each thing that is wrong."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


def _one_of(words: tuple[str, ...]) -> Callable[[str], str | None]:
    return lambda word: None if word in words else f"must be one of {', '.join(words)}"


def _port(port: int | None) -> str | None:
    return None if port is None or 0 <= port <= MAX_PORT else f"must be from 0 (any free one) to {MAX_PORT}"


def _grace(seconds: float) -> str | None:
    return None if MIN_GRACE <= seconds <= MAX_GRACE else f"must be from {MIN_GRACE:.0f} to {MAX_GRACE:.0f} seconds"


def _pause(seconds: float) -> str | None:
    return None if 0 <= seconds <= MAX_GRACE else f"must be from 0 to {MAX_GRACE:.0f} seconds"


def _positive(number: int) -> str | None:
    return None if number > 0 else "must be above 0"


def _above_zero(seconds: float) -> str | None:
    return None if seconds > 0 else "must be above 0"


def _not_negative(seconds: float) -> str | None:
    return None if seconds >= 0 else "must not be negative"


def _ledger(url: str) -> str | None:
    known = any(url.startswith(scheme) for scheme in LEDGERS)
    return None if known else f"must begin with one of {', '.join(LEDGERS)}"


def _name(text: str) -> str | None:
    return None if text.strip() else "must not be empty"


def _modules(names: tuple[str, ...]) -> str | None:
    wrong = [name for name in names if not all(part.isidentifier() for part in name.split("."))]
    return f"has what is no module name: {', '.join(wrong)} (write `package.module`, not a path)" if wrong else None


def _setting(default: Any, doc: str, why: str, check: Callable[[Any], str | None] | None = None) -> Any:
    return field(default=default, metadata={"doc": doc, "why": why, "check": check})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a server. Build it with `load`; the attributes are what is in force.

    Raises:
        SettingsError: A value is not one that its setting may have.
    """

    host: str = _setting(
        "127.0.0.1", "Address that gRPC listens on.", "The wire has no authentication: opening it is a decision.", _name
    )
    port: int = _setting(8000, "Port of gRPC; 0 picks one.", "The one that Flyte's charts connect to.", _port)
    metrics_host: str = _setting(
        "127.0.0.1", "Address of /metrics, the probes and the status page.", "As for host.", _name
    )
    metrics_port: int | None = _setting(
        9090, 'Port of the same; 0 picks one, "off" serves none.', "Where flytekit's server has its metrics.", _port
    )
    modules: tuple[str, ...] = _setting(
        (), "Modules to import, which register connectors.", "Installed packages are found without it.", _modules
    )
    flytekit: bool = _setting(
        False,
        "Whether to serve flytekit's connectors and plugins too.",
        "It costs a second and 40 MiB, and needs the extra flytekit.",
    )
    flytekit_own_loop: tuple[str, ...] = _setting(
        (), "Task types of flytekit's connectors whose coroutines block, and get a thread.", "The log names them."
    )
    flytekit_pickled_metadata: tuple[str, ...] = _setting(
        (),
        "Task types of flytekit's connectors that may unpickle their metadata.",
        "Whoever can send a request to such a connector can run code in the server.",
    )
    entry_points: bool = _setting(
        True, "Whether installed packages may bring connectors.", "A plugin that is installed is meant to be served."
    )
    ledger: str = _setting(
        "sqlite:///~/.local/state/flytower/ledger.sqlite",
        "Where tasks are written down: sqlite:///PATH, postgresql://USER@HOST/DATABASE, or memory://.",
        "A file needs no set-up, and survives kill -9; put it on a volume that outlives the container.",
        _ledger,
    )
    ledger_wait: float = _setting(
        30.0,
        "Seconds to wait at start for another server to give the ledger up.",
        "A rolling update starts the new server before the old one has ended.",
        _pause,
    )
    retention: float = _setting(
        RETENTION,
        "Seconds that a finished task stays readable, where its connector declares nothing else.",
        "A day: Flyte has long read the end, and a person may still want to know.",
        _above_zero,
    )
    grace: float = _setting(
        25.0,
        "Seconds from SIGTERM to the end, at most; calls and creates in flight get all but ten of them, or half.",
        "Kubernetes kills after 30.",
        _grace,
    )
    tasks: int = _setting(
        200_000, "Tasks of one connector at once.", "Some 300 MiB of records; more is a runaway client.", _positive
    )
    watchdog: float = _setting(
        LATE_SECONDS,
        "Seconds that the event loop may be late before the log names who blocks it; 0 for no watchdog.",
        "Callers feel a fifth of a second, and ListAgents of every server is asked every ten.",
        _not_negative,
    )
    log_level: str = _setting(
        "info", "Least severe event that is logged.", "A line for each event worth a look.", _one_of(LEVELS)
    )
    log_format: str = _setting(
        "auto",
        "How events are logged.",
        "auto: console on a terminal, where a person reads, else json.",
        _one_of(FORMATS),
    )
    limits: Limits = field(default_factory=Limits, metadata={"doc": "What a client may do.", "why": "See each."})
    origins: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    """Where each setting that is not a default came from, by dotted name: "port" -> "the flag --port"."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "origins", MappingProxyType(dict(self.origins)))
        problems = [problem for key in catalogue() for problem in key.problems(self)]
        if self.port and (self.host, self.port) == (self.metrics_host, self.metrics_port):
            problems.append(f"port and metrics_port must differ, and both are {self.port}.")
        if problems:
            raise SettingsError(problems)

    def origin(self, name: str) -> str:
        """Return where a setting came from, "default" when nobody has set it."""
        return self.origins.get(name, DEFAULT)

    def value(self, name: str) -> Any:
        """Return a setting by its dotted name."""
        table, _, last = name.rpartition(".")
        return getattr(self.limits if table else self, last)


class Key(NamedTuple):
    """One thing that can be set.

    Args:
        name: Its dotted name, "port" or "limits.max_calls".
        kind: The type of its value.
        default: Its default.
        doc: What it is, in a sentence.
        why: Why the default is what it is.
        check: Says what is wrong with a value, if anything is.
    """

    name: str
    kind: Any
    default: Any
    doc: str = ""
    why: str = ""
    check: Callable[[Any], str | None] | None = None

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return PREFIX + self.name.replace(".", "_").upper()

    def problems(self, settings: Settings) -> Iterator[str]:
        """Yield what is wrong with its value."""
        value = settings.value(self.name)
        wrong = self.check(value) if self.check is not None else None
        if wrong:
            yield f"{self.name} ({settings.origin(self.name)}) {wrong}, not {shown(value)!r}."


@cache
def catalogue() -> tuple[Key, ...]:
    """Return all that can be set, in the order in which it is worth reading."""
    hints, limit_hints = get_type_hints(Settings), get_type_hints(Limits)
    own = [
        Key(each.name, hints[each.name], each.default, **each.metadata)
        for each in fields(Settings)
        if each.name not in {LIMITS, "origins"}
    ]
    return (*own, *(Key(f"{LIMITS}.{each.name}", limit_hints[each.name], each.default) for each in fields(Limits)))


def ledger_url(settings: Settings) -> str:
    """Return the URL of the ledger, with the home of whoever runs this put in for `~`."""
    return settings.ledger.replace(_HOME, f"sqlite:///{Path.home()}/", 1)


def shown(value: Any) -> Any:
    """Return a value as it may be shown: without the password of a URL."""
    if not isinstance(value, str) or "://" not in value:
        return value
    return _PASSWORD_IN_QUERY.sub(r"\1=***", _PASSWORD.sub(r"://\1:***@", value))
