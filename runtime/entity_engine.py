"""What moves entities: messages in, transitions, effects out, and what happens when one of these raises.

Everything here is synchronous, and one thing happens at a time. What is asked for from inside a transition or an
effect waits in the *backlog* and is done right after, in the same breath, in the order in which it was asked for. So
every step of an entity runs to completion before the next one of any entity begins, and however entities talk to one
another the stack does not grow.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import structlog
import trio

from flytower.runtime.entity import Call, CancelCall, End, Raised, Refuse, Reply, Sleep, Stopping, Wake
from flytower.runtime.entity_record import NO_CALLS, EntityRecord
from flytower.runtime.exits import NORMAL, Exit, crashed, stopped
from flytower.runtime.host_errors import CallTagBusy, EntityGone, EntityLives, LaneFull, UnknownLane
from flytower.runtime.intensity import RestartWindow
from flytower.runtime.lanes import LaneCall

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Hashable, Sequence

    from flytower.runtime.entity import Behaviour, Step
    from flytower.runtime.intensity import Intensity
    from flytower.runtime.lanes import Lane
    from flytower.runtime.promise import Promise
    from flytower.runtime.timers import Timers

log = structlog.get_logger(__name__)

S = TypeVar("S")


class EntityEngine(Generic[S]):
    """The records of one host, and the only one that changes them.

    Args:
        name: The host's, for the log.
        behaviour: What all entities do.
        timers: Where their timers are set.
        lanes: Where their calls run.
        intensity: How often one entity may be restarted; a crash beyond that ends it.
    """

    def __init__(
        self,
        name: str,
        behaviour: Behaviour[S],
        timers: Timers,
        lanes: Sequence[Lane],
        intensity: Intensity,
    ) -> None:
        self.records: dict[Hashable, EntityRecord[S]] = {}
        self.winding_down = False  # no timer comes due any more
        self.rng: random.Random | None = None  # the context's, once the host runs
        self.clock: Callable[[], float] = trio.current_time  # the clock's own method, once the host runs: faster
        self.dead_letters = 0
        self.crashes = 0
        self.restarts = 0
        self._name = name
        self._behaviour = behaviour
        self._timers = timers
        self._lanes = {lane.name: lane for lane in lanes}
        self._intensity = intensity
        self._held = True  # something happens, or nothing may: what is asked for goes to the backlog
        # What waits: the deed, whose, with what, and the promise that goes with it.
        self._backlog: deque[tuple[Callable[..., None], EntityRecord[S], Any, Promise[Any] | None]] = deque()
        self._performers: dict[type, Callable[[EntityRecord[S], Any, float], None]] = {
            Call: self._call,
            CancelCall: self._cancel_call,
            Wake: self._wake,
            Sleep: self._sleep,
            Reply: self._reply,
            Refuse: self._refuse,
            End: self._end,
        }

    # ---- what the host asks for -------------------------------------------------------------------------------

    @property
    def backlog(self) -> int:
        """What waits to be done."""
        return len(self._backlog)

    def start(self, key: Hashable, state: S, effects: Sequence[object]) -> None:
        """Add an entity, and perform its first effects."""
        if key in self.records:
            raise EntityLives(f"{self._name} has an entity {key!r} already; talk to it, or end it first")
        record = self.records[key] = EntityRecord(self, key, state, self.clock())
        if effects:
            self._do(self._begin, record, effects)

    def deliver(
        self,
        record: EntityRecord[S],
        message: object,
        promise: Promise[Any] | None = None,
        now: float | None = None,
    ) -> None:
        """Give the entity a message: now, or right after what happens now."""
        if self._held:
            self._defer(self._handle, record, message, promise)
            return
        self._held = True  # as in _do, without its call: this is the hot path
        try:
            self._handle(record, message, promise, self.clock() if now is None else now)
            if self._backlog:
                self.work_off(0)
        finally:
            self._held = False

    def wind_down(self, record: EntityRecord[S]) -> None:
        """Tell the entity that the host is stopping."""
        self._timers.cancel(record)
        self.deliver(record, Stopping())

    def stop(self, record: EntityRecord[S], reason: str) -> None:
        """End the entity because somebody wants it ended."""
        self._do(self._quit, record, stopped(reason))

    def work_off(self, left: int) -> None:
        """Do what waits, in order, until no more than `left` things do."""
        backlog, now = self._backlog, self.clock()
        while len(backlog) > left:
            deed, record, what, promise = backlog.popleft()
            record.queued -= 1
            if record.exit is None:
                deed(record, what, promise, now)
            else:
                self._bury(record, record.exit, what, promise)

    def release(self) -> None:
        """Do all that waits, and hold back no longer."""
        self.work_off(0)
        self._held = False

    def end(self, record: EntityRecord[S], exit: Exit) -> None:  # noqa: A002 - OTP's word for it
        """End the entity: calls cancelled, timer gone, promises rejected, everybody told."""
        record.exit = exit
        del self.records[record.key]
        self._abandon(record, exit)
        self._guarded(record, self._behaviour.ended, record.key, record.state, exit)
        for callback in record.monitors or ():
            self._guarded(record, callback, record.key, exit)

    # ---- one thing at a time ----------------------------------------------------------------------------------

    def _do(self, deed: Callable[..., None], record: EntityRecord[S], what: object) -> None:
        if self._held:
            self._defer(deed, record, what)
            return
        self._held = True
        try:
            deed(record, what, None, self.clock())
            self.work_off(0)
        finally:
            self._held = False

    def _defer(
        self, deed: Callable[..., None], record: EntityRecord[S], what: object, promise: Promise[Any] | None = None
    ) -> None:
        record.queued += 1
        self._backlog.append((deed, record, what, promise))

    def _bury(self, record: EntityRecord[S], exit: Exit, what: object, promise: Promise[Any] | None) -> None:  # noqa: A002
        self.dead_letters += 1
        log.debug("dead letter", host=self._name, entity=record.key, message=type(what).__name__)
        if promise is not None:
            self._guarded(record, promise.reject, EntityGone(record.key, exit))

    # ---- the deeds: done to a living entity, which then lives on or is over ---------------------------------------

    def _begin(self, record: EntityRecord[S], effects: Sequence[object], _: object, now: float) -> None:
        self._enter(record, (record.state, effects), now)

    def _handle(self, record: EntityRecord[S], message: object, promise: Promise[Any] | None, now: float) -> None:
        try:
            record.state, effects = self._behaviour.transition(record.state, message, now)
            self._perform(record, effects, now)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it is, it ends this entity at most
            if promise is not None:
                record.owe(promise)
            self._enter(record, self._restored(record, error, now), now)
        else:
            if promise is not None and not promise.done:
                record.owe(promise)
            if record.exit is not None:
                self.end(record, record.exit)

    def _refused(self, record: EntityRecord[S], what: tuple[LaneCall, Raised], _: object, now: float) -> None:
        call, outcome = what
        if not call.cancelled:
            record.forget_call(call)
            self._handle(record, outcome, None, now)

    def _quit(self, record: EntityRecord[S], exit: Exit, _: object, now: float) -> None:  # noqa: A002, ARG002
        self.end(record, exit)

    # ---- incarnations -----------------------------------------------------------------------------------------

    def _enter(self, record: EntityRecord[S], step: Step[S] | None, now: float) -> None:
        """Begin an incarnation with a step; when that raises, the next one, as long as there may be one."""
        while step is not None:
            try:
                record.state, effects = step
                self._perform(record, effects, now)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - whatever it is, it ends this entity at most
                step = self._restored(record, error, now)
            else:
                step = None
                if record.exit is not None:
                    self.end(record, record.exit)

    def _restored(self, record: EntityRecord[S], error: BaseException, now: float) -> Step[S] | None:
        """Take the crashed incarnation down; return the first step of the next one, or end the entity."""
        self.crashes += 1
        exit = crashed(error)  # noqa: A001 - OTP's word for it
        log.error("entity crashed", host=self._name, entity=record.key, reason=exit.reason, exc_info=error)
        record.exit = None  # an incarnation that raised after End has not ended in order
        step = self._restore(record) if self._may_restart(record, now) else None
        if step is None:
            self.end(record, exit)
        else:
            self._abandon(record, exit)
            record.started = now
            record.restarts += 1
            self.restarts += 1
        return step

    def _restore(self, record: EntityRecord[S]) -> Step[S] | None:
        try:
            return self._behaviour.restore(record.key)
        except Exception:  # the entity ends with what it crashed of
            log.exception("entity cannot be restored", host=self._name, entity=record.key)
            return None

    def _may_restart(self, record: EntityRecord[S], now: float) -> bool:
        if record.window is None:
            record.window = RestartWindow(self._intensity)
        return record.window.allow(now)

    def _abandon(self, record: EntityRecord[S], exit: Exit) -> None:  # noqa: A002
        """Let go of all that an incarnation holds and owes."""
        self._timers.cancel(record)
        calls, record.calls = record.calls, NO_CALLS
        for call in calls.values():
            call.lane.cancel(call)
        promises, record.promises = record.promises, None
        for promise in list(promises or ()):  # each takes itself out
            self._guarded(record, promise.reject, EntityGone(record.key, exit))

    def _guarded(self, record: EntityRecord[S], tell: Callable[..., object], *facts: object) -> None:
        """Tell somebody else something; their failure is not the entity's."""
        try:
            tell(*facts)
        except Exception:  # anything that foreign code can raise
            log.exception("callback raised", host=self._name, entity=record.key, callback=repr(tell))

    # ---- effects ----------------------------------------------------------------------------------------------

    def _perform(self, record: EntityRecord[S], effects: Sequence[object], now: float) -> None:
        for effect in effects:
            performer = self._performers.get(type(effect))
            if performer is not None:
                performer(record, effect, now)
            else:
                self._behaviour.perform(record.key, record.state, effect)

    def _call(self, record: EntityRecord[S], effect: Call, now: float) -> None:  # noqa: ARG002
        lane = self._lanes.get(effect.lane)
        if lane is None:
            raise UnknownLane(f"{self._name} has no lane {effect.lane!r}, only {sorted(self._lanes)}")
        if effect.tag in record.calls:
            raise CallTagBusy(f"entity {record.key!r} has a call {effect.tag!r} already; cancel it first")
        if not record.calls:
            record.calls = {}
        call = record.calls[effect.tag] = LaneCall(lane, record, effect)
        try:
            lane.submit(call)
        except LaneFull as error:
            self._defer(self._refused, record, (call, Raised(effect.tag, error)))

    def _cancel_call(self, record: EntityRecord[S], effect: CancelCall, now: float) -> None:  # noqa: ARG002
        call = record.calls.get(effect.tag)
        if call is not None:
            record.forget_call(call)
            call.lane.cancel(call)

    def _wake(self, record: EntityRecord[S], effect: Wake, now: float) -> None:
        spread = effect.spread * self.rng.random() if effect.spread and self.rng else 0.0
        self._timers.schedule(record, now + effect.delay + spread)

    def _sleep(self, record: EntityRecord[S], effect: Sleep, now: float) -> None:  # noqa: ARG002
        self._timers.cancel(record)

    def _reply(self, record: EntityRecord[S], effect: Reply, now: float) -> None:  # noqa: ARG002
        try:
            effect.promise.resolve(effect.value)
        except Exception:  # of a callback: the asker's failure is not the entity's
            log.exception("callback raised", host=self._name, entity=record.key, callback="of a promise")

    def _refuse(self, record: EntityRecord[S], effect: Refuse, now: float) -> None:  # noqa: ARG002
        self._guarded(record, effect.promise.reject, effect.error)

    def _end(self, record: EntityRecord[S], effect: End, now: float) -> None:  # noqa: ARG002
        record.exit = NORMAL
