"""What a poll of a task actor consists of, layer by layer, beside a bare task per job. Less than a minute.

Each row does what the one before it does, and more, for 50,000 jobs in a process of its own. What the first three take
is the floor of a task actor: a poll that is timed, called with a deadline, asked of a connector and encoded.
"""

from __future__ import annotations

import asyncio
import gc
import random
import sys
from typing import TYPE_CHECKING

import trio
from _apart import figures, report
from _host import running
from _table import print_heading, print_table
from task_actors import (
    JOBS,
    PERIOD,
    BenchConnector,
    JobMeta,
    actors,
    asyncio_tasks,
    rates,
    trio_tasks,
    without_collector,
)

from flytower.connectors.bound import Bound
from flytower.runtime.entity import Behaviour, Call, Wake, Woke
from flytower.runtime.host import EntityHost
from flytower.runtime.lanes import Lane

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import NoReturn

WORKERS = 64  # as a connector has, unless its policy says otherwise
TIMEOUT = 10.0  # likewise


class Layers(Behaviour[bytes]):
    """Polls when it wakes, and sleeps when it has polled; its state is the job's metadata.

    Args:
        poll: What a poll is; None to count one without any call.
        connector: Who counts.
    """

    def __init__(self, poll: Callable[[bytes], Awaitable[object]] | None, connector: BenchConnector) -> None:
        self._poll = poll
        self._connector = connector

    def transition(self, state: bytes, message: object, now: float) -> tuple[bytes, Sequence[object]]:
        """Poll or sleep."""
        poll = self._poll
        if poll is None:
            self._connector.polls += 1
        elif type(message) is Woke:
            return state, (Call("poll", "get", lambda: poll(state), TIMEOUT),)
        return state, (Wake(0.95 * PERIOD, 0.1 * PERIOD),)


async def layers(connector: BenchConnector, poll: Callable[[bytes], Awaitable[object]] | None) -> NoReturn:
    """Report the polls per CPU second of entities that do so much, and no more."""
    host = EntityHost("bench", Layers(poll, connector), lanes=[Lane("poll", WORKERS)], limit=JOBS)
    for number in range(JOBS):
        host.start(number, JobMeta(job=f"s3://bench/{number}/0").encode(), (Wake(random.random() * PERIOD),))
    gc.collect()
    async with running(host):
        await trio.sleep(1.0)
        report(await rates(connector, trio.sleep))


def of_layers(make: Callable[[BenchConnector], Callable[[bytes], Awaitable[object]] | None]) -> NoReturn:
    """Run one row."""
    connector = BenchConnector(PERIOD)
    trio.run(layers, connector, make(connector))


def asked(connector: BenchConnector) -> Callable[[bytes], Awaitable[object]]:
    """Return the call that asks the connector, with metadata that is there already, and encodes nothing."""
    meta = JobMeta(job="s3://bench/0/0")
    return lambda _: connector.get(meta)


TRIO = "a trio task per job, no collector"
ASYNCIO = "an asyncio task per job"

WHO = {
    "a timer and a transition": lambda: of_layers(lambda _: None),
    "and a call with a deadline": lambda: of_layers(asked),
    "and its metadata decoded, its answer encoded": lambda: of_layers(lambda connector: Bound(connector).status),
    "a task actor": lambda: trio.run(actors),
    TRIO: lambda: without_collector(trio_tasks),
    ASYNCIO: lambda: asyncio.run(asyncio_tasks()),
}


def main() -> None:
    """Print the table."""
    if len(sys.argv) > 1:
        WHO[sys.argv[1]]()
    print_heading("Polls, layer by layer")
    found = {name: figures(__file__, name) for name in WHO}
    rows = [(name, *_compared(found, name, 0), *_compared(found, name, 1)) for name in found]
    header = ("CPU us a poll", "does nothing", "x trio", "x asyncio", "a checkpoint", "x trio", "x asyncio")
    print_table(f"{JOBS:,} jobs, {JOBS / PERIOD:,.0f} polls a second asked for", header, rows)


def _compared(found: dict[str, list[float]], name: str, poll: int) -> tuple[float, float, float]:
    """Return the microseconds of one kind of poll, and how many times as many as the peers make."""
    rate = found[name][poll]
    return 1e6 / rate, rate / found[TRIO][poll], rate / found[ASYNCIO][poll]


if __name__ == "__main__":
    main()
