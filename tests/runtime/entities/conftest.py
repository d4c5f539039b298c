"""A bench for timers, lanes and hosts: a behaviour that does what its messages say, run without a supervisor."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import trio

from flytower.runtime.entity import Behaviour
from flytower.runtime.host import EntityHost, Phase
from flytower.runtime.lanes import Lane
from flytower.runtime.testing import LoneContext
from flytower.runtime.timers import Timers
from tests.runtime.entities.office import Office

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Hashable

    from flytower.runtime.context import Child
    from flytower.runtime.exits import Exit


class Do(NamedTuple):
    """A message that says what the transition returns: these effects, and a new state unless that is None."""

    effects: tuple[object, ...] = ()
    state: str | None = None


class Fail(NamedTuple):
    """A message (or an effect) that makes the transition (or its performance) raise."""

    error: BaseException


class Scripted(Behaviour[str]):
    """A behaviour whose messages say what to do. It writes down all that it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, str, object]] = []
        self.performed: list[tuple[Hashable, str, object]] = []
        self.ends: list[tuple[Hashable, str, Exit]] = []
        self.reactions: dict[type, Callable[[str, Any], Do]] = {}  # to messages of the host
        self.restorable: dict[Hashable, list[object]] = {}  # what restore gives next: a Do, None, or an error to raise

    def transition(self, state: str, message: object, now: float) -> tuple[str, tuple[object, ...]]:
        self.heard.append((now, state, message))
        if isinstance(message, Fail):
            raise message.error
        react = self.reactions.get(type(message))
        step = react(state, message) if react else message if isinstance(message, Do) else Do()
        return (state if step.state is None else step.state), step.effects

    def perform(self, key: Hashable, state: str, effect: object) -> None:
        self.performed.append((key, state, effect))
        if isinstance(effect, Fail):
            raise effect.error
        if callable(effect):
            effect()

    def restore(self, key: Hashable) -> tuple[str, tuple[object, ...]] | None:
        steps = self.restorable.get(key, [])
        step: Any = steps.pop(0) if steps else None
        if isinstance(step, BaseException):
            raise step
        return None if step is None else (step.state, step.effects)

    def ended(self, key: Hashable, state: str, exit: Exit) -> None:  # noqa: A002
        self.ends.append((key, state, exit))

    def describe(self, state: str) -> str:
        return state

    def messages(self, kind: type = object) -> list[object]:
        return [message for _, _, message in self.heard if isinstance(message, kind)]

    def times(self, kind: type) -> list[float]:
        return [time for time, _, message in self.heard if isinstance(message, kind)]


@asynccontextmanager
async def running(child: Child, context: LoneContext | None = None) -> AsyncIterator[LoneContext]:
    """Run a child for as long as the block, from when it is ready; then ask it to stop, and wait for it."""
    context = context or LoneContext()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(child.run, context)
        await context.is_ready.wait()
        yield context
        context.stop_requested.set()


class Bench:
    """One host with a scripted behaviour, two lanes ("slow" has one worker), and timers of its own."""

    Context = LoneContext
    Do = Do
    Fail = Fail
    Scripted = Scripted
    running = staticmethod(running)

    def __init__(self, **options: Any) -> None:
        self.behaviour = Scripted()
        options.setdefault("lanes", (Lane("fast", 8), Lane("slow", 1)))
        self.host = EntityHost("bench", self.behaviour, **options)
        self.context = LoneContext()

    def tell(self, key: Hashable, *effects: object, state: str | None = None) -> bool:
        """Have the entity perform these effects."""
        return self.host.tell(key, Do(effects, state))

    def run(self) -> Any:
        return running(self.host, self.context)

    def nothing_is_left(self) -> None:
        """Assert what the host guarantees once `run` is over."""
        statistics = self.host.statistics()
        assert (statistics.phase, statistics.entities, statistics.queued) == (Phase.OVER, 0, 0)
        assert self.host._timers.statistics().pending == 0
        for lane in statistics.lanes.values():
            assert (lane.workers, lane.running, lane.queued) == (0, 0, 0)


@pytest.fixture
def new_bench() -> type[Bench]:
    return Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def lane() -> Lane:
    return Lane("polls", 1)


@pytest.fixture
def office(lane: Lane) -> Office:
    return Office(lane)


@pytest.fixture
def log() -> list[tuple[object, float]]:
    """What owners of timers write down."""
    return []


@pytest.fixture
def timers() -> Timers:
    return Timers()
