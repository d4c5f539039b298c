"""A live tree under arbitrary crashes, stops, starts, asks and time; what must hold is checked after every step."""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flytower.runtime.backoff import Backoff
from flytower.runtime.errors import ActorDead, ActorError, AskTimeout, MailboxFull
from flytower.runtime.intensity import Intensity
from flytower.runtime.ref import Request
from flytower.runtime.service import Service
from flytower.runtime.spec import Restart, ServiceSpec
from flytower.runtime.strategy import Strategy
from flytower.runtime.supervisor import Supervisor
from flytower.runtime.system import System, open_system
from flytower.runtime.testing import Driver, running_tasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from flytower.runtime.context import Context
    from flytower.runtime.exits import Exit
    from flytower.runtime.promise import Promise
    from flytower.runtime.slot import Slot

INTENSITY = Intensity(restarts=3, within=20)
GRACE = 4.0
NAMES = ("a", "b", "c", "temporary", "transient")
SECONDS = st.sampled_from([0.0, 0.5, 1.0, 3.0, 10.0, 40.0])


@dataclass(frozen=True)
class Work(Request[int]):
    """Takes some seconds, then does one thing."""

    seconds: float
    then: str = "answer"


class World:
    """What the services of one example share: how they are to misbehave, and what they did."""

    def __init__(self) -> None:
        self.living: Counter[str] = Counter()
        self.failing: Counter[str] = Counter()  # how many more starts of each are to fail
        self.cleaning = 0.0  # seconds that each clean-up takes


class Worker(Service[Work]):
    def __init__(self, world: World) -> None:
        self.world = world

    async def run(self, context: Context) -> None:
        self.world.living[context.path] += 1
        assert self.world.living[context.path] == 1, f"two incarnations of {context.path}"
        try:
            await super().run(context)
        finally:
            self.world.living[context.path] -= 1

    async def started(self) -> None:
        await trio.sleep(0.5)
        if self.world.failing[self.context.name] > 0:
            self.world.failing[self.context.name] -= 1
            raise OSError("failing to start")

    async def handle(self, message: Work) -> int:
        await trio.sleep(message.seconds)
        match message.then:
            case "crash":
                raise ValueError("told to")
            case "finish":
                self.finish()
            case "background":
                self.spawn(self.fail)
        return 42

    async def stopping(self, end: Exit) -> None:
        await trio.sleep(self.world.cleaning)

    async def fail(self) -> None:
        await trio.sleep(1)
        raise KeyError("in the background")


class Watched(Supervisor):
    """Remembers when it restarted a child after a crash, for each of its own runs."""

    def __init__(self, children: list[ServiceSpec[Work]], strategy: Strategy) -> None:
        super().__init__(children, strategy=strategy, intensity=INTENSITY, backoff=Backoff(0.5, 2.0))
        self.restarts: list[list[float]] = []

    async def run(self, context: Context) -> None:
        self.restarts.append([])
        await super().run(context)

    def _pause(self, slot: Slot, delay: float) -> None:
        self.restarts[-1].append(trio.current_time())
        super()._pause(slot, delay)


class Supervision(RuleBasedStateMachine):
    system: System

    def __init__(self) -> None:
        super().__init__()
        self.logs = structlog.testing.capture_logs()
        self.logs.__enter__()
        self.driver = Driver()
        self.world = World()
        self.promises: list[tuple[str, Promise[int]]] = []
        self.over = trio.Event()

    @initialize(strategy=st.sampled_from(Strategy), seed=st.integers(0, 9))
    def open(self, strategy: Strategy, seed: int) -> None:
        kinds = {"temporary": Restart.TEMPORARY, "transient": Restart.TRANSIENT}
        self.specs = {
            name: ServiceSpec(
                name, lambda: Worker(self.world), kinds.get(name, Restart.PERMANENT), grace=GRACE, mailbox=3
            )
            for name in NAMES
        }
        self.inner = Watched(list(self.specs.values()), strategy)
        self.before = self.driver.do(self._tasks)

        async def live() -> None:
            rng = random.Random(seed)  # noqa: S311 - seeded
            generous = Intensity(restarts=10_000)
            async with open_system([self.inner.spec("inner")], intensity=generous, rng=rng) as self.system:
                await self.over.wait()

        self.driver.nursery.start_soon(live)
        self.driver.advance(5)

    async def _tasks(self) -> int:
        return len(running_tasks())

    def beside(self, function: Callable[..., Awaitable[object]], *args: object) -> None:
        """Run something that may take its time, and may fail in the ways that actors do."""

        async def run() -> None:
            with contextlib.suppress(ActorError):
                await function(*args)

        self.driver.nursery.start_soon(run)

    @rule(name=st.sampled_from(NAMES), then=st.sampled_from(["crash", "finish", "background"]), seconds=SECONDS)
    def misbehave(self, name: str, then: str, seconds: float) -> None:
        try:
            self.driver.do(self._tell, name, Work(seconds, then))
        except MailboxFull:
            assert self.specs[name].ref.mailbox.full

    @rule(name=st.sampled_from(NAMES), then=st.sampled_from(["crash", "answer"]))
    def control(self, name: str, then: str) -> None:
        async def tell() -> None:
            self.specs[name].ref.tell_control(Work(0, then))

        self.driver.do(tell)

    async def _tell(self, name: str, message: Work) -> None:
        self.specs[name].ref.tell(message)

    @rule(name=st.sampled_from(NAMES), times=st.integers(1, 5))
    def fail_to_start(self, name: str, times: int) -> None:
        self.world.failing[name] = times

    @rule(seconds=st.sampled_from([0.0, 2.0, 100.0]))
    def clean_up_slowly(self, seconds: float) -> None:
        self.world.cleaning = seconds

    @rule(name=st.sampled_from(NAMES), seconds=SECONDS)
    def ask(self, name: str, seconds: float) -> None:
        async def ask() -> None:
            self.promises.append((name, self.specs[name].ref.ask_nowait(Work(seconds))))

        self.driver.do(ask)

    @rule(name=st.sampled_from(NAMES), seconds=SECONDS, timeout=SECONDS)
    def ask_with_a_timeout(self, name: str, seconds: float, timeout: float) -> None:
        start = self.driver.do(self._now)
        with contextlib.suppress(AskTimeout, ActorDead, MailboxFull):
            assert self.driver.do(self.specs[name].ref.ask, Work(seconds), timeout) == 42
        assert self.driver.do(self._now) <= start + timeout

    async def _now(self) -> float:
        return trio.current_time()

    @rule(name=st.sampled_from(NAMES))
    def stop_child(self, name: str) -> None:
        self.beside(self.inner.stop_child, name)

    @rule(name=st.sampled_from(NAMES))
    def start_child(self, name: str) -> None:
        self.beside(self.inner.start_child, self.specs[name])

    @rule(name=st.sampled_from(NAMES))
    def restart_child(self, name: str) -> None:
        self.beside(self.inner.restart_child, name)

    @rule()
    def restart_the_supervisor(self) -> None:
        self.beside(self.system.root.restart_child, "inner")

    @precondition(lambda self: self.driver.do(self._now) > 60)
    @rule()
    def stop_the_system(self) -> None:
        self.beside(self.system.stop)

    @rule(seconds=SECONDS)
    def advance(self, seconds: float) -> None:
        self.driver.advance(seconds)

    @rule()
    def settle(self) -> None:
        self.driver.settle()

    @invariant()
    def no_ask_is_pending_on_a_dead_actor(self) -> None:
        for name, promise in self.promises:
            ref = self.specs[name].ref
            if ref.exit is not None:
                assert promise.done
            if promise.done:
                with contextlib.suppress(ActorDead, MailboxFull):
                    assert promise.result() == 42

    @invariant()
    def restarts_stay_within_the_intensity(self) -> None:
        for run in self.inner.restarts if hasattr(self, "inner") else ():
            for time in run:
                assert len([t for t in run if time <= t < time + INTENSITY.within]) <= INTENSITY.restarts

    @invariant()
    def the_dead_have_no_mail(self) -> None:
        for spec in self.specs.values() if hasattr(self, "specs") else ():
            assert spec.ref.exit is None or spec.ref.pending == 0

    def heal(self) -> None:
        """Stop the faults: everything that is wanted must be up again, and every mailbox empty."""
        self.world.failing.clear()
        self.world.cleaning = 0.0
        self.driver.advance(1000)
        slots = list(self.inner._slots.values())
        assert all(slot.phase.value == ("up" if slot.wanted else "down") for slot in slots)
        assert all(spec.ref.pending == 0 for spec in self.specs.values())
        assert all(promise.done for _, promise in self.promises)

    def teardown(self) -> None:
        try:
            if hasattr(self, "inner"):
                self.heal()
                self.over.set()
                self.driver.settle()
                assert self.driver.do(self._tasks) == self.before
                assert not any(self.world.living.values())
                assert all(spec.ref.exit is not None for spec in self.specs.values())
        finally:
            self.driver.close()
            self.logs.__exit__(None, None, None)


TestSupervision = Supervision.TestCase
TestSupervision.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
