"""What actors cost: entities and services, beside bare trio and asyncio tasks in the same run. Takes about a minute.

CPU time is the figure to trust on a machine that others use too. A ratio above 1 says that ours is the faster one.
"""

from __future__ import annotations

import gc
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import trio
from _host import running
from _polls import WORKERS, Poller, load, measure_polls, trio_checkpoint
from _table import print_heading, print_table

from flytower.cli.serve import collect_less_often
from flytower.runtime.entity import Behaviour, Reply, Wake
from flytower.runtime.host import EntityHost
from flytower.runtime.lanes import Lane
from flytower.runtime.ref import Request
from flytower.runtime.service import Service
from flytower.runtime.spec import ServiceSpec
from flytower.runtime.system import open_system
from flytower.runtime.testing import LoneContext
from flytower.runtime.timers import QUIET, TICK, Pace, Timers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from flytower.runtime.promise import Promise

SIZES = (1_000, 10_000, 50_000)
STORM = 20_000
STORMS = 5
MESSAGES = 100_000


# ---- what an entity costs -------------------------------------------------------------------------------------


class Ask(NamedTuple):
    """Ask for the state."""

    promise: Promise[int]


class Sleeper(Behaviour[int]):
    """Counts its messages; answers; wakes once."""

    def transition(self, state: int, message: object, now: float) -> tuple[int, Sequence[object]]:
        """Count or answer."""
        if type(message) is Ask:
            return state, (Reply(message.promise, state),)
        return state + 1, ()


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096


def per_item(items: int, work: Callable[[], object]) -> float:
    """Return the CPU microseconds of each of so many items."""
    began = time.process_time()
    work()
    return (time.process_time() - began) / items * 1e6


async def entities(count: int, spread: float) -> None:
    """Print figures for so many idle entities with a timer each, due within `spread` seconds."""
    host = EntityHost("bench", Sleeper())
    keys = [f"task-{number:06}" for number in range(count)]
    effects = (Wake(3600.0, spread),)
    async with running(host):
        gc.collect()
        before = resident_bytes()

        def spawn() -> None:
            for key in keys:
                host.start(key, 0, effects)

        def tell() -> None:
            for number in range(MESSAGES):
                host.tell(keys[number % count], number)

        def ask() -> None:
            for number in range(MESSAGES):
                host.ask(keys[number % count], Ask).result()

        spawned = per_item(count, spawn)
        gc.collect()
        size = (resident_bytes() - before) / count
        told, asked = per_item(MESSAGES, tell), per_item(MESSAGES, ask)
        timers = host._timers
        due = trio.current_time() + 4000 + spread
        fired = per_item(count, lambda: all(iter(lambda: timers._fire_batch(due), False)))
        assert host.statistics().queued == 0
        began = time.process_time()
    ended = (time.process_time() - began) / count * 1e6
    print(spawned, told, asked, fired, ended, size)


def measure_entities() -> None:
    rows = []
    for count, spread in [(size, 5.0) for size in SIZES] + [(SIZES[-1], 3600.0)]:
        run = [sys.executable, __file__, "entities", str(count), str(spread)]  # each size in a process of its own
        figures = subprocess.run(run, check=True, capture_output=True, text=True).stdout.split()
        rows.append(
            [f"{count:,}, due within {spread:,.0f} s", *map(float, figures), count * float(figures[-1]) / 2**20]
        )
    header = ["idle entities with a timer", "spawn us", "tell us", "ask us", "wake us", "end us", "bytes each", "MiB"]
    print_table("Entities (CPU; bytes: resident memory, without the keys)", header, rows)


# ---- messages -------------------------------------------------------------------------------------------------


class Question(Request[int]):
    """Ask for the count."""


class Echo(Service[object]):
    """Counts its messages, and answers with the count."""

    def __init__(self) -> None:
        self.count = 0
        self.done = trio.Event()

    async def handle(self, message: object) -> object:
        """Count and answer."""
        self.count += 1
        if message == "last":
            self.done.set()
        return self.count


async def channel_round_trip(times: int) -> None:
    there, here = trio.open_memory_channel[int](1), trio.open_memory_channel[int](1)

    async def echo() -> None:
        async for value in there[1]:
            await here[0].send(value)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(echo)
        for number in range(times):
            await there[0].send(number)
            await here[1].receive()
        nursery.cancel_scope.cancel()


async def channel_burst(times: int) -> None:
    sender, receiver = trio.open_memory_channel[int](1000)

    async def receive() -> None:
        async for _ in receiver:
            pass

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        for number in range(times):
            await sender.send(number)
        sender.close()


async def timed(times: int, work: Callable[[int], Awaitable[object]]) -> float:
    began = time.process_time()
    await work(times)
    return (time.process_time() - began) / times * 1e6


async def messages() -> None:
    times = MESSAGES // 4
    service = Echo()
    spec: ServiceSpec[object] = ServiceSpec("echo", lambda: service)
    host = EntityHost("bench", Sleeper())

    async def ask_entity(count: int) -> None:
        for _ in range(count):
            host.ask("a", Ask).result()

    async def tell_entity(count: int) -> None:
        for number in range(count):
            host.tell("a", number)

    async def ask_service(count: int) -> None:
        for _ in range(count):
            await spec.ref.ask(Question())

    async def tell_service(count: int) -> None:
        for _ in range(count - 1):
            await spec.ref.send("message")
        await spec.ref.send("last")
        await service.done.wait()

    async with running(host), open_system([spec]):
        host.start("a", 0)
        trip, burst = await timed(times, channel_round_trip), await timed(times, channel_burst)
        figures = [
            ("trio memory channel: one way, in bursts", burst),
            ("trio memory channel: round trip", trip),
            ("entity: tell", await timed(times, tell_entity)),
            ("entity: ask", await timed(times, ask_entity)),
            ("service: send, until all are handled", await timed(times, tell_service)),
            ("service: ask", await timed(times, ask_service)),
        ]
    rows = [(name, cost, 1e6 / cost, trip / cost) for name, cost in figures]
    print_table("Messages (CPU)", ["", "us", "per second", "x round trip"], rows)


# ---- a storm --------------------------------------------------------------------------------------------------


class LongestTurn(trio.abc.Instrument):
    """Measures how long the loop runs tasks between two looks at the outside."""

    def __init__(self) -> None:
        self.longest = self.began = 0.0

    def after_io_wait(self, timeout: float) -> None:
        """Note that a turn begins."""
        self.began = time.perf_counter()

    def before_io_wait(self, timeout: float) -> None:
        """Note that a turn is over."""
        if self.began:
            self.longest = max(self.longest, time.perf_counter() - self.began)


async def storm(pace: Pace) -> tuple[float, float, float]:
    """Return the milliseconds of the longest turn, until all were polled, and of CPU that it took."""
    load.period, load.poll = 3600.0, trio_checkpoint
    timers = Timers(quiet=pace)
    host = EntityHost("bench", Poller(), timers, [Lane("polls", WORKERS)])
    for key in range(STORM):
        host.start(key, None)
    context = LoneContext()
    async with trio.open_nursery() as nursery, running(host):
        nursery.start_soon(timers.run, context)
        await context.is_ready.wait()
        due = math.ceil((trio.current_time() + 0.3) / TICK) * TICK
        for record in host._records.values():
            timers.schedule(record, due)
        gc.collect()
        load.count, turn = 0, LongestTurn()
        trio.lowlevel.add_instrument(turn)
        cpu = time.process_time()  # before, for the first turn may be long
        await trio.sleep_until(due)
        while load.count < STORM or host.statistics().lanes["polls"].running:  # noqa: ASYNC110 - nobody tells
            await trio.sleep(0.005)
        drained, cpu = trio.current_time() - due, time.process_time() - cpu
        trio.lowlevel.remove_instrument(turn)
        nursery.cancel_scope.cancel()
    return turn.longest * 1000, drained * 1000, cpu * 1000


def measure_storm() -> None:
    paces = {f"at most {QUIET.most} in a turn": QUIET, "without a cap": Pace(STORM, 1, STORM)}
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in paces}
    collect_less_often()  # as the server does
    for _ in range(STORMS):  # one after the other, so that a busy second is everybody's
        for name, pace in paces.items():
            found[name].append(trio.run(storm, pace))
    rows = [(name, *map(min, zip(*figures, strict=True))) for name, figures in found.items()]
    header = ["", "longest turn ms", "drained ms", "CPU ms"]
    print_table(f"{STORM:,} entities due at once (best of {STORMS})", header, rows)


def main() -> None:
    if sys.argv[1:2] == ["entities"]:
        trio.run(entities, int(sys.argv[2]), float(sys.argv[3]))
        return
    print_heading("Actors")
    measure_entities()
    trio.run(messages)
    measure_polls()
    measure_storm()


if __name__ == "__main__":
    main()
