"""From the start of a server's process to its first answer, beside flytekit's, and where that time goes. Half a minute.

The machine is never as quiet as one would like: the best of some starts is what a start takes, and CPU seconds are what
it takes of the machine. What each is made of is measured as processes that import so much and no more.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

from _table import print_heading, print_table
from peers.servers import ALONE, FLYTEKIT, FLYTOWER, Server, compiled

REPEATS = 5

IDLE_SECONDS = 1.0
"""Until a server that has answered is looked at as one that is idle."""

SQLITE = "sqlite:///FOLDER/ledger.sqlite"

SERVERS = {
    "flytekit": (FLYTEKIT, ""),
    "Flytower": (ALONE, "memory://"),
    "Flytower, new SQLite ledger": (ALONE, SQLITE),
    "Flytower, SQLite ledger": (ALONE, SQLITE),
    "Flytower with flytekit's connectors": (FLYTOWER, "memory://"),
}
"""What is started, in this order: the second ledger in SQLite is the first one, which is no longer new."""

LIBRARIES = "click, structlog, trio, trio_asyncio, h2, grpclib.protocol, betterproto2"
"""What no start of this server can do without."""

LEAVE = "import os; os._exit(0)"
"""Taking apart what was imported is no part of a start."""

LEAN = "from flytower.cli.lean_imports import lean_imports\nwith lean_imports(): import "

STEPS = {
    "Python itself": "pass",
    "the libraries that no start can do without": LEAN + LIBRARIES,
    "its own modules": LEAN + "flytower.cli.app, flytower.cli.serve",
    "the connectors that ship": f"{LEAN}flytower.cli.app, flytower.cli.serve\nflytower.cli.serve.load_entry_points()",
}
"""What a start consists of, each with all before it."""

LATER = {
    "SQLAlchemy, for a ledger in SQLite": "sqlalchemy, sqlalchemy.dialects.sqlite",
    "what the first scrape imports": "h11, prometheus_client",
}
"""What only some starts import, or none: each on top of the libraries."""

EMPTY = "as many modules as its own, with nothing in them"

BESIDE = {
    **{name: f"{LEAN}{LIBRARIES}, {modules}" for name, modules in LATER.items()},
    "import of flytekit's server": "import flytekit.extend.backend.connector_service",
}


class Cost(NamedTuple):
    """What something took, in seconds."""

    wall: float
    cpu: float


def main() -> None:
    """Measure, and print two tables."""
    print_heading("Start")
    starts: dict[str, list[Cost]] = {name: [] for name in SERVERS}
    memory: dict[str, float] = {}
    imports: dict[str, list[Cost]] = {name: [] for name in (*STEPS, EMPTY, *BESIDE)}
    with tempfile.TemporaryDirectory() as empty:
        codes = {**STEPS, EMPTY: _empty_modules(Path(empty)), **BESIDE}
        for number in range(REPEATS + 1):  # one after the other, so that a busy minute is everybody's
            with tempfile.TemporaryDirectory() as folder:
                found = {name: _start(name, Path(folder), memory) for name in SERVERS}
            imported = {name: _run(code) for name, code in codes.items()}
            if number:  # the first time, modules are compiled
                for name, cost in found.items():
                    starts[name].append(cost)
                for name, cost in imported.items():
                    imports[name].append(cost)
    _print_starts(starts, memory)
    _print_steps(starts, imports)


def _start(name: str, folder: Path, memory: dict[str, float]) -> Cost:
    kind, ledger = SERVERS[name]
    server = Server(kind, folder, ledger.replace("FOLDER", str(folder)))
    try:
        cost = Cost(server.wait(), server.cpu())
        if name not in memory:  # it is the same at each start
            time.sleep(IDLE_SECONDS)
            memory[name] = server.pss_mib()
    finally:
        server.stop()
    return cost


def _empty_modules(folder: Path) -> str:
    """Make as many modules as a start has of its own; return the code that imports them, on top of the libraries."""
    code = f"{STEPS['its own modules']}\nimport sys\nprint(sum(name.startswith('flytower') for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    names = [f"empty_{number}" for number in range(int(done.stdout))]
    for name in names:
        (folder / f"{name}.py").touch()
    return f"import sys\nsys.path.append({str(folder)!r})\n{LEAN}{LIBRARIES}, {', '.join(names)}"


def _run(code: str) -> Cost:
    """Run Python to the end of some code."""
    begun = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", f"{code}\n{LEAVE}"], env=compiled(dict(os.environ)))
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"exit code {process.returncode}: {code}")
    return Cost(time.perf_counter() - begun, usage.ru_utime + usage.ru_stime)


def _print_starts(starts: dict[str, list[Cost]], memory: dict[str, float]) -> None:
    peer = starts["flytekit"]
    header = ("", "best s", "median s", "CPU s (best)", "best / it", "CPU / it", "idle PSS MiB", "PSS / it")
    rows = [
        (
            name,
            _wall(costs),
            median(cost.wall for cost in costs),
            _cpu(costs),
            _wall(costs) / _wall(peer),
            _cpu(costs) / _cpu(peer),
            memory[name],
            memory[name] / memory["flytekit"],
        )
        for name, costs in starts.items()
    ]
    print_table(
        f"Start to the first answer to ListAgents, {REPEATS} times, and idle memory; it: flytekit's", header, rows
    )


def _print_steps(starts: dict[str, list[Cost]], imports: dict[str, list[Cost]]) -> None:
    peer, whole = _cpu(starts["flytekit"]), _cpu(starts["Flytower"])
    ends = [_cpu(imports[name]) for name in STEPS] + [whole]
    begins = [0.0, *ends[:-1]]
    names = [*STEPS, "ledger, node, the first answer"]
    rows = [
        (name, 1e3 * (end - begin), 1e3 * end, end / peer) for name, begin, end in zip(names, begins, ends, strict=True)
    ]
    print_table("Where Flytower's goes: CPU, best of each", ("", "ms", "ms until then", "/ flytekit's"), rows)
    on_top = {EMPTY, *LATER}
    beside = [(name, _cpu(imports[name]) - (ends[1] if name in on_top else 0.0)) for name in (EMPTY, *BESIDE)]
    rows_beside = [(name, 1e3 * seconds, seconds / peer) for name, seconds in beside]
    print_table("Beside that", ("", "CPU ms", "/ flytekit's"), rows_beside)


def _wall(costs: list[Cost]) -> float:
    return min(cost.wall for cost in costs)


def _cpu(costs: list[Cost]) -> float:
    return min(cost.cpu for cost in costs)


if __name__ == "__main__":
    main()
