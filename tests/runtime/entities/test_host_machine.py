"""A live host under whatever hypothesis can think of, against a fake outside world with its own record."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from random import Random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flytower.runtime.entity import (
    Behaviour,
    Call,
    CancelCall,
    End,
    Raised,
    Reply,
    Returned,
    Sleep,
    Stopping,
    TimedOut,
    Wake,
    Woke,
)
from flytower.runtime.host import EntityHost, Phase
from flytower.runtime.host_errors import EntityGone, HostStopped, LaneFull
from flytower.runtime.intensity import Intensity
from flytower.runtime.lanes import Lane
from flytower.runtime.testing import Driver

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from flytower.runtime.exits import Exit
    from flytower.runtime.promise import Promise

KEYS = st.sampled_from("abc")
TAGS = st.sampled_from(["poll", "delete"])


class Plan(NamedTuple):
    """What a call will do: take its time, then return or raise, and unwind slowly when cancelled."""

    number: int
    seconds: float
    raises: bool
    unwinds: float
    swallows: bool  # returns all the same when cancelled


class Note(NamedTuple):
    number: int
    then: tuple[tuple[str, object], ...] = ()  # what it sends to others, or itself, while it is in a step


class Begin(NamedTuple):
    lane: str
    tag: str
    plan: Plan
    timeout: float


class Drop(NamedTuple):
    tag: str


class Question(NamedTuple):
    promise: Promise[int]
    now: bool


class Crash(NamedTuple):
    in_effect: bool


class Finish(NamedTuple):
    pass


class Send(NamedTuple):
    """An effect: tell another entity of this host."""

    key: str
    message: object


@dataclass(frozen=True)
class State:
    key: str
    incarnation: int
    busy: frozenset[tuple[str, int]] = frozenset()  # tag and number of the calls that it waits for
    owed: tuple[Promise[int], ...] = ()


@dataclass
class World:
    """The outside: what runs there, and what was ever heard of it."""

    running: dict[int, str] = field(default_factory=dict)
    unwanted: set[int] = field(default_factory=set)  # calls that were cancelled, or whose entity crashed or ended
    heard: set[int] = field(default_factory=set)

    async def call(self, plan: Plan) -> int:
        assert plan.number not in self.unwanted, "a call that was cancelled before it began has begun"
        self.running[plan.number] = "running"
        try:
            await trio.sleep(plan.seconds)
        except trio.Cancelled:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 100):
                await trio.sleep(plan.unwinds)
            if not plan.swallows:
                raise
        finally:
            del self.running[plan.number]
        if plan.raises:
            raise ValueError(plan.number)
        return plan.number


class Jobs(Behaviour[State]):
    """Entities that check everything they hear against what they have asked for."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.host: EntityHost[State]
        self.notes: dict[str, list[int]] = {}
        self.incarnations = 0
        self.lives: dict[str, State] = {}  # the state as the behaviour has last seen it
        self.in_step = False

    def transition(self, state: State, message: object, now: float) -> tuple[State, Sequence[object]]:
        assert now == trio.current_time()
        assert self.lives[state.key] is state, "a step of an incarnation that is over, or a state that was lost"
        state, effects = self.step(state, message)
        self.lives[state.key] = state
        return state, effects

    def step(  # noqa: C901, PLR0911, PLR0912 - a table, one row for each message
        self, state: State, message: object
    ) -> tuple[State, Sequence[object]]:
        match message:
            case Note(number, then):
                self.notes.setdefault(state.key, []).append(number)
                return state, [Send(key, other) for key, other in then]
            case Begin(lane, tag, plan, timeout):
                return self.begin(state, lane, tag, plan, timeout)
            case Drop(tag):
                return self.drop(state, tag)
            case Question(promise, True):
                return state, [Reply(promise, 1)]
            case Question(promise, False):
                return State(state.key, state.incarnation, state.busy, (*state.owed, promise)), [Wake(1, 1)]
            case Woke():
                answers = [Reply(promise, 2) for promise in state.owed]
                return State(state.key, state.incarnation, state.busy), answers
            case Crash(in_effect):
                self.give_up(state)
                if not in_effect:
                    raise ValueError("told to crash")
                return state, [Wake(1), "crash"]
            case Finish():
                self.give_up(state)
                return state, [Sleep(), End()]
            case Returned(tag, number):
                return self.over(state, tag, number)
            case Raised(tag, error):
                number = next(n for t, n in state.busy if t == tag) if isinstance(error, LaneFull) else error.args[0]
                return self.over(state, tag, number)
            case TimedOut(tag, _):
                return self.over(state, tag, next(n for t, n in state.busy if t == tag))
            case Stopping():
                return state, ()
        raise AssertionError(message)

    def begin(self, state: State, lane: str, tag: str, plan: Plan, timeout: float) -> tuple[State, Sequence[object]]:
        if tag in dict(state.busy):
            return state, ()
        busy = state.busy | {(tag, plan.number)}
        effect = Call(lane, tag, partial(self.world.call, plan), timeout)
        return State(state.key, state.incarnation, busy, state.owed), [effect]

    def drop(self, state: State, tag: str) -> tuple[State, Sequence[object]]:
        self.world.unwanted.update(number for t, number in state.busy if t == tag)
        busy = frozenset((t, number) for t, number in state.busy if t != tag)
        return State(state.key, state.incarnation, busy, state.owed), [CancelCall(tag)]

    def over(self, state: State, tag: object, number: int) -> tuple[State, Sequence[object]]:
        assert (tag, number) in state.busy, "an outcome that this incarnation has not asked for"
        assert number not in self.world.unwanted, "an outcome after the call was cancelled"
        assert number not in self.world.heard, "an outcome that was heard before"
        self.world.heard.add(number)
        return State(state.key, state.incarnation, state.busy - {(tag, number)}, state.owed), ()

    def give_up(self, state: State) -> None:
        self.world.unwanted.update(number for _, number in state.busy)

    def new(self, key: str) -> State:
        self.incarnations += 1
        self.lives[key] = State(key, self.incarnations)
        return self.lives[key]

    def perform(self, key: Hashable, state: State, effect: object) -> None:
        assert not self.in_step, "a step inside a step"
        self.in_step = True
        try:
            match effect:
                case Send(other, message):
                    self.host.tell(other, message)
                case "crash":
                    raise ValueError("told to crash")
        finally:
            self.in_step = False

    def restore(self, key: Any) -> tuple[State, Sequence[object]]:
        return self.new(key), [Wake(3)]

    def ended(self, key: Any, state: State, exit: Exit) -> None:  # noqa: A002
        assert self.lives.pop(key) is state
        self.give_up(state)


class HostMachine(RuleBasedStateMachine):
    """Messages, calls, crashes and time in any order; at the end a stop, or a cancellation."""

    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver()
        self.world = World()
        self.behaviour = Jobs(self.world)
        self.lanes = [Lane("narrow", 1, queue_limit=1), Lane("wide", 3)]
        self.host = EntityHost("machine", self.behaviour, lanes=self.lanes, intensity=Intensity(3, 10.0))
        self.behaviour.host = self.host
        self.promises: list[Promise[int]] = []
        self.settled: list[Promise[int]] = []
        self.numbers = 0
        self.told: dict[str, list[int]] = {}
        self.context: Any = None
        self.scope = trio.CancelScope()

    def do(self, function: Any) -> Any:
        async def operation() -> Any:
            return function()

        return self.driver.do(operation)

    def number(self) -> int:
        self.numbers += 1
        return self.numbers

    @rule()
    @precondition(lambda self: self.context is None)
    def run_the_host(self) -> None:
        def context() -> Any:
            return SimpleNamespace(path="/m", rng=Random(0), stop_requested=trio.Event(), ready=lambda: None)  # noqa: S311

        async def run() -> None:
            with self.scope:
                await self.host.run(self.context)

        self.context = self.do(context)
        self.do(lambda: self.driver.nursery.start_soon(run))
        self.driver.settle()

    @rule(key=KEYS)
    def start(self, key: str) -> None:
        if not self.host.has(key):
            try:
                self.do(lambda: self.host.start(key, self.behaviour.new(key), [Wake(2)]))
            except HostStopped:
                del self.behaviour.lives[key]

    @rule(key=KEYS, others=st.lists(KEYS, max_size=3))
    def tell(self, key: str, others: list[str]) -> None:
        """A note, upon which the entity sends notes to others, and to itself."""
        then = tuple((other, Note(self.number())) for other in others)
        self.do(lambda: self.host.tell(key, Note(self.number(), then)))

    @rule(
        key=KEYS,
        tag=TAGS,
        lane=st.sampled_from(["narrow", "wide"]),
        seconds=st.sampled_from([0, 1, 3, 1000]),
        raises=st.booleans(),
        unwinds=st.sampled_from([0, 2]),
        swallows=st.booleans(),
    )
    def call(
        self, key: str, tag: str, lane: str, seconds: float, unwinds: float, *, raises: bool, swallows: bool
    ) -> None:
        plan = Plan(self.number(), seconds, raises, unwinds, swallows)
        self.do(lambda: self.host.tell(key, Begin(lane, tag, plan, 5.0)))

    @rule(key=KEYS, tag=TAGS)
    def cancel_call(self, key: str, tag: str) -> None:
        self.do(lambda: self.host.tell(key, Drop(tag)))

    @rule(key=KEYS, now=st.booleans())
    def ask(self, key: str, now: bool) -> None:  # noqa: FBT001
        promise: Promise[int] = self.do(lambda: self.host.ask(key, lambda promise: Question(promise, now)))
        self.promises.append(promise)
        promise.add_done_callback(self.settled.append)

    @rule(key=KEYS, in_effect=st.booleans())
    def crash(self, key: str, in_effect: bool) -> None:  # noqa: FBT001
        self.do(lambda: self.host.tell(key, Crash(in_effect)))

    @rule(key=KEYS)
    def finish(self, key: str) -> None:
        self.do(lambda: self.host.tell(key, Finish()))

    @rule(key=KEYS)
    def stop_entity(self, key: str) -> None:
        self.do(lambda: self.host.stop_entity(key, "the machine wants it"))

    @rule(seconds=st.sampled_from([0.5, 1, 4, 20]))
    def let_time_pass(self, seconds: float) -> None:
        self.driver.advance(seconds)

    @rule()
    @precondition(lambda self: self.context is not None)
    def stop_the_host(self) -> None:
        self.do(self.context.stop_requested.set)
        self.driver.settle()

    @rule()
    @precondition(lambda self: self.context is not None)
    def cancel_the_host(self) -> None:
        self.do(self.scope.cancel)
        self.driver.settle()

    @invariant()
    def nothing_contradicts(self) -> None:
        assert set(self.host.keys()) == set(self.behaviour.lives)
        assert len(set(self.settled)) == len(self.settled)
        if self.context is not None:
            assert self.host.statistics().queued == 0
            for key, state in self.behaviour.lives.items():
                assert self.host.state(key) is state
        for notes in self.behaviour.notes.values():
            assert len(set(notes)) == len(notes)

    def teardown(self) -> None:
        try:
            if self.context is None:
                self.run_the_host()
            self.driver.settle()
            self.stop_the_host()
            self.driver.advance(200)
            statistics = self.host.statistics()
            assert (statistics.phase, statistics.entities, statistics.queued) == (Phase.OVER, 0, 0)
            assert all(lane.workers == lane.running == lane.queued == 0 for lane in statistics.lanes.values())
            assert self.host._timers.statistics().pending == 0
            assert self.behaviour.lives == {}
            assert self.world.running == {}
            assert len(self.settled) == len(self.promises)
            for promise in self.promises:
                assert isinstance(promise._error, EntityGone) or promise.result() in {1, 2}
        finally:
            self.driver.close()


HostMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


class TestHostMachine(HostMachine.TestCase):  # type: ignore[misc, valid-type]  # made by hypothesis
    """Whatever happens in whatever order: see the assertions above."""
