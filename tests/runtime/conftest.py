"""A laboratory of children whose every step is recorded, and which end when the test says so."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import structlog
import trio

from flytower.runtime.backoff import Backoff
from flytower.runtime.exits import leaves
from flytower.runtime.spec import ChildSpec, Restart
from flytower.runtime.system import open_system
from flytower.runtime.tree import Node

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping
    from contextlib import AbstractAsyncContextManager

    from flytower.runtime.context import Context
    from flytower.runtime.system import System


class Probe:
    """A child that does what it was built for, and writes down when."""

    def __init__(
        self, lab: Lab, name: str, start: float, stop: float, fails: list[BaseException], *, heed: bool
    ) -> None:
        self.lab, self.name, self.start, self.stop, self.fails, self.heed = lab, name, start, stop, fails, heed
        self.order = trio.Event()  # set when it is to end by itself, or to stop
        self.error: BaseException | None = None
        self.context: Context

    async def run(self, context: Context) -> None:
        self.context = context
        self.lab.begins(self)
        try:
            await trio.sleep(self.start)
            if self.fails:
                raise self.fails.pop(0)  # noqa: TRY301 - the point of a probe
            context.ready()
            self.lab.note(f"{self.name} up")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._obey)
                await self.order.wait()
                nursery.cancel_scope.cancel()
            if self.error is not None:
                raise self.error  # noqa: TRY301 - the point of a probe
            await trio.sleep(self.stop)
        except BaseException as error:
            if not any(leaves(error)):
                self.lab.note(f"{self.name} cancelled")
            raise
        finally:
            self.lab.ends(self)

    def inspect(self, path: str, now: float) -> Node:
        return Node(path, "Probe", "up" if self.heed else "deaf")

    async def _obey(self) -> None:
        await self.context.stop_requested.wait()
        self.lab.note(f"{self.name} told")
        if self.heed:
            self.order.set()


class Lab:
    """Builds probes, and remembers what they did and when, in virtual time."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.times: list[float] = []
        self.living: dict[str, Probe] = {}  # one incarnation of a name at a time
        self.starts: Counter[str] = Counter()
        self._noted = trio.Event()

    def probe(
        self,
        name: str,
        *,
        start: float = 0.0,
        stop: float = 0.0,
        fails: list[BaseException] | None = None,
        heed: bool = True,
        restart: Restart = Restart.PERMANENT,
        grace: float = 5.0,
        **options: Any,
    ) -> ChildSpec:
        """Specify a child that takes `start` s to be ready and `stop` s to stop, and raises each of `fails` first."""
        left = list(fails or ())
        return ChildSpec(name, lambda: Probe(self, name, start, stop, left, heed=heed), restart, grace, **options)

    def system(self, *children: ChildSpec, **options: Any) -> AbstractAsyncContextManager[System]:
        """Open a system with a seeded source of randomness, and restarts exactly one second after a crash."""
        options.setdefault("backoff", Backoff(minimum=1, maximum=1))
        return open_system(children, rng=random.Random(0), new_id=iter("abcdefgh").__next__, **options)  # noqa: S311 - seeded

    def crash(self, name: str, error: BaseException | None = None) -> None:
        self.end(name, error or ValueError(f"{name} was told to crash"))

    def end(self, name: str, error: BaseException | None = None) -> None:
        probe = self.living[name]
        probe.error = error
        probe.order.set()

    def begins(self, probe: Probe) -> None:
        assert probe.name not in self.living, f"two incarnations of {probe.name} at once"
        self.living[probe.name] = probe
        self.starts[probe.name] += 1
        self.note(f"{probe.name} starts")

    def ends(self, probe: Probe) -> None:
        del self.living[probe.name]
        self.note(f"{probe.name} over")

    def note(self, what: str) -> None:
        self.log.append(what)
        self.times.append(trio.current_time())
        self._noted.set()

    def only(self, *words: str) -> list[str]:
        """Return the entries that end with one of these words."""
        return [entry for entry in self.log if entry.split()[-1] in words]

    async def until(self, what: str, times: int = 1) -> None:
        """Wait until `what` was noted so many times."""
        while self.log.count(what) < times:
            self._noted = trio.Event()
            await self._noted.wait()

    def when(self, what: str) -> list[float]:
        return [time for entry, time in zip(self.log, self.times, strict=True) if entry == what]


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[MutableMapping[str, Any]]]:
    """What was logged; nothing is printed."""
    with structlog.testing.capture_logs() as entries:
        yield entries


@pytest.fixture
def lab() -> Lab:
    return Lab()


@pytest.fixture
def new_lab() -> type[Lab]:
    """For hypothesis, which needs one for each example."""
    return Lab
