"""Supervisors: they start children in order, restart those that fail, and stop all in reverse order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
import trio

from flytower.runtime.backoff import Backoff
from flytower.runtime.errors import ActorDead, NameTaken, RestartIntensityExceeded, UnknownActor
from flytower.runtime.exits import Exit, stopped
from flytower.runtime.incarnation import Commons, Incarnation
from flytower.runtime.intensity import Intensity, RestartWindow
from flytower.runtime.slot import Slot
from flytower.runtime.spec import ChildSpec, Restart
from flytower.runtime.strategy import Phase, Strategy, next_starts, next_stop, sharing
from flytower.runtime.tree import Node

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from flytower.runtime.context import Context

log = structlog.get_logger(__name__)

# Each child has 5 s, they stop one after the other, and Kubernetes kills a pod after 30 s: a little less than that.
DEFAULT_BUDGET = 25.0


class Supervisor:
    """Runs children, and is itself a child. The object can run again after its end, so it is also their lasting handle.

    Children start in the order given, each when the one before it is ready, and stop in reverse, each inside its
    grace and all inside the supervisor's own. A crash while starting counts like any other. More crashes than
    `intensity` allows end the supervisor: it stops its children and crashes with `RestartIntensityExceeded`.

    Args:
        children: What to run from the start.
        strategy: Who shares the fate of a child that must be restarted.
        intensity: How many restarts are too many.
        backoff: How long to pause before each.
    """

    def __init__(
        self,
        children: Sequence[ChildSpec] = (),
        *,
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        intensity: Intensity | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self._children = tuple(children)
        self._strategy = strategy
        self._intensity = intensity or Intensity()
        self._backoff = backoff or Backoff()
        # The state of one run. It is changed by the synchronous methods below only, each of which ends in _reconcile.
        self._slots: dict[str, Slot] = {}  # in start order
        self._closing = True  # no child is wanted: true before and after a run
        self._failure: BaseException | None = None  # why it gave up
        self._path = ""
        self._rng: random.Random
        self._commons: Commons
        self._window: RestartWindow
        self._nursery: trio.Nursery
        self._changed = trio.lowlevel.ParkingLot()  # woken by _reconcile: who waits for a child

    def spec(self, name: str, *, restart: Restart = Restart.PERMANENT, grace: float = DEFAULT_BUDGET) -> ChildSpec:
        """Return how another supervisor runs this one: without a limit to its start, which its intensity bounds."""
        return ChildSpec(name, lambda: self, restart, grace, start_within=float("inf"))

    # ---- children that come and go ----------------------------------------------------------------------------

    async def start_child(self, spec: ChildSpec) -> None:
        """Start one more child, after the others, and wait until it is up. It is forgotten when the supervisor ends.

        Cancelling the wait leaves the child. Not to be awaited by a sibling that is not ready itself.

        Raises:
            NameTaken: A child has that name, or the spec runs elsewhere.
            ActorDead: The child ended before it was ready, or the supervisor does not run.
        """
        self._must_run(spec.name)
        slot = self._add(spec)
        self._reconcile()
        await self._until_ready(slot, 1)

    async def stop_child(self, name: str) -> Exit:
        """Stop a child for good, wait until it is over, and return how it ended; the supervisor then forgets it.

        Cancelling the wait does not keep it from stopping.

        Raises:
            UnknownActor: No child has that name.
        """
        slot = self._find(name)
        self._dismiss(slot, stopped("its supervisor was told to stop it"))
        self._reconcile()
        await self._until(lambda: self._slots.get(name) is not slot)
        return slot.exit or stopped("it was not running")

    async def restart_child(self, name: str) -> None:
        """Stop a child if it runs, start it again without a pause, and wait until it is up. Not counted as a crash.

        Raises:
            UnknownActor: No child has that name, or it is being stopped for good.
            ActorDead: It ended before it was ready.
        """
        slot = self._find(name)
        if not slot.wanted and slot.phase.lives:
            raise UnknownActor(f"{slot.path} is being stopped for good")
        readies = slot.readies
        self._renew(slot)
        self._reconcile()
        await self._until_ready(slot, readies + 1)

    def _must_run(self, name: str) -> None:
        if self._closing:
            raise ActorDead(name, stopped("its supervisor does not run"))

    def _find(self, name: str) -> Slot:
        try:
            return self._slots[name]
        except KeyError:
            raise UnknownActor(f"the supervisor has no child {name}, but {', '.join(self._slots) or 'none'}") from None

    async def _until_ready(self, slot: Slot, readies: int) -> None:
        await self._until(lambda: slot.readies >= readies or not slot.wanted)
        if slot.readies < readies:
            raise ActorDead(slot.path, slot.exit or stopped("its supervisor stopped before it was started"))

    # ---- its own life -----------------------------------------------------------------------------------------

    async def run(self, context: Context) -> None:
        """Live one incarnation; see Child.

        Raises:
            RestartIntensityExceeded: Its children crashed too often.
        """
        if not self._closing:
            raise RuntimeError(f"this supervisor already runs as {self._path}; make one for each place in the tree")
        self._path, self._closing, self._failure = context.path, False, None
        self._rng = context.rng
        # Under a context that is not ours it is the root of a system of its own.
        self._commons = context.commons if isinstance(context, Incarnation) else Commons(context.rng, context.new_id)
        self._window = RestartWindow(self._intensity)
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._watch_for_stop, context.stop_requested)
            try:
                await self._supervise(context)
            finally:
                self._close("its supervisor stops")
                await self._wait_for_all(context)
                self._nursery.cancel_scope.cancel(reason=f"{self._path} has ended")
        if self._failure is not None:
            raise self._failure

    def inspect(self, path: str, now: float) -> Node:
        """Describe itself and its children."""
        return self._node(path, [slot.inspect(now) for slot in self._slots.values()])

    def summarize(self, path: str, now: float) -> Node:
        """Do the same, with the entities of each host summed up."""
        return self._node(path, [slot.inspect(now, briefly=True) for slot in self._slots.values()])

    def _node(self, path: str, children: Sequence[Node]) -> Node:
        up = all(slot.phase is Phase.UP for slot in self._slots.values() if slot.wanted)
        state = "stopping" if self._closing else "running" if up else "mending"
        return Node(path, type(self).__name__, state, children=tuple(children))

    async def _supervise(self, context: Context) -> None:
        for spec in self._children:
            self._add(spec)
        self._reconcile()
        await self._until(lambda: self._closing or all(s.settled or not s.wanted for s in self._slots.values()))
        if not self._closing:
            context.ready()
        await self._until(lambda: self._closing)

    async def _watch_for_stop(self, stop_requested: trio.Event) -> None:
        await stop_requested.wait()
        self._close("its supervisor was told to stop")

    async def _wait_for_all(self, context: Context) -> None:
        """Let the children stop in order, for as long as we may; then cancel those that are left, all together."""
        with context.shielded(context.grace) as shield:
            await self._until(lambda: not any(slot.phase.lives for slot in self._slots.values()))
        if shield.cancelled_caught:
            left = [slot.incarnation for slot in self._slots.values() if slot.incarnation is not None]
            for incarnation in reversed(left):
                log.warning("no time is left for an actor to stop", path=incarnation.path, budget=context.grace)
                self._commons.late.append(incarnation.path)
                incarnation.cut()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._changed.park()

    # ---- events, each of which changes what is wanted, and lets _reconcile do what can be done now --------------

    def _close(self, reason: str) -> None:
        """Want no child any more, and take none."""
        if not self._closing:
            self._closing = True
            for slot in reversed(self._slots.values()):
                self._dismiss(slot, stopped(reason))
            self._reconcile()

    def _ready(self, slot: Slot) -> None:
        slot.settled = True
        slot.readies += 1
        if slot.phase is Phase.STARTING:
            slot.phase = Phase.UP
        self._reconcile()

    def _ended(self, slot: Slot, incarnation: Incarnation, exit: Exit) -> None:  # noqa: A002 - OTP's word for it
        asked = slot.phase is Phase.STOPPING
        slot.phase, slot.recycle, slot.incarnation, slot.exit = Phase.DOWN, False, None, exit
        slot.kind = type(incarnation.child).__name__ if incarnation.child is not None else slot.kind
        if exit.crashed:
            log.error("an actor crashed", path=slot.path, reason=exit.reason, exc_info=exit.errors[0])
        if slot.wanted and not asked:
            self._fell(slot, exit, lived=trio.current_time() - incarnation.started_at)
        if not slot.wanted:
            slot.spec.address.close(exit)
        self._reconcile()

    def _fell(self, slot: Slot, exit: Exit, lived: float) -> None:  # noqa: A002 - OTP's word for it
        """Decide what follows from an end that nobody asked for."""
        if not slot.spec.restart.after(exit):
            slot.wanted = False
        elif self._window.allow(trio.current_time()):
            slot.attempt = self._backoff.attempt(slot.attempt, lived)
            self._pause(slot, self._backoff.delay(slot.attempt, self._rng))
            self._share_fate(slot)
        else:
            self._give_up(slot, exit)

    def _share_fate(self, slot: Slot) -> None:
        slots = list(self._slots.values())
        for index in sharing(self._strategy, slots.index(slot), len(slots)):
            other = slots[index]
            if other.spec.restart is Restart.TEMPORARY:
                self._dismiss(other, stopped(f"{slot.path} is restarted"))
            elif other.wanted:
                other.recycle = other.phase in {Phase.STARTING, Phase.UP}

    def _give_up(self, slot: Slot, exit: Exit) -> None:  # noqa: A002 - OTP's word for it
        limit = self._intensity
        self._failure = RestartIntensityExceeded(self._path, slot.path, limit.restarts, limit.within, exit)
        self._failure.__cause__ = exit.cause
        slot.wanted = False
        self._close(f"{self._path} gave up over {slot.path}")

    def _dismiss(self, slot: Slot, exit: Exit) -> None:  # noqa: A002 - OTP's word for it
        """Want a child no more: it will be stopped, if it lives, and forgotten."""
        was_wanted, slot.wanted, slot.recycle, slot.forget = slot.wanted, False, False, True
        self._end_pause(slot)
        if was_wanted and not slot.phase.lives:
            slot.exit = exit
            slot.spec.address.close(exit)
        elif slot.phase is Phase.STOPPING:
            slot.spec.address.seal(exit)

    def _renew(self, slot: Slot) -> None:
        """Want a fresh incarnation of a child at once, whether one lives or not."""
        if not slot.wanted:
            slot.wanted = True
            slot.spec.address.attach(slot.path, self._commons.dead_letters)
        self._end_pause(slot)
        slot.recycle = slot.phase in {Phase.STARTING, Phase.UP}

    # ---- what happens to a child ------------------------------------------------------------------------------

    def _reconcile(self) -> None:
        """Take every step that can be taken now. Called after each event."""
        slots = list(self._slots.values())
        stop = next_stop(slots)
        if stop is not None:
            self._stop(slots[stop])
        for start in next_starts(self._strategy, slots):
            self._start(slots[start])
        for slot in slots:
            if slot.forget and not slot.wanted and not slot.phase.lives:
                self._forget(slot)
        self._changed.unpark_all()

    def _add(self, spec: ChildSpec) -> Slot:
        path = f"{self._path}/{spec.name}"
        if spec.name in self._slots:
            raise NameTaken(f"{path} is taken; give each child of a supervisor a name of its own")
        spec.address.attach(path, self._commons.dead_letters)
        self._commons.names.add(path, spec.address)
        slot = self._slots[spec.name] = Slot(spec, path, forget=spec.restart is Restart.TEMPORARY)
        return slot

    def _start(self, slot: Slot) -> None:
        slot.phase = Phase.STARTING
        slot.starts += 1
        slot.incarnation = Incarnation(slot.spec, slot.path, self._commons, lambda: self._ready(slot))
        self._nursery.start_soon(self._live, slot, slot.incarnation, name=slot.path)

    async def _live(self, slot: Slot, incarnation: Incarnation) -> None:
        self._ended(slot, incarnation, await incarnation.live())

    def _stop(self, slot: Slot) -> None:
        reason = "to be restarted" if slot.wanted else f"{self._path} stops it for good"
        slot.phase, slot.recycle = Phase.STOPPING, False
        if not slot.wanted:
            slot.spec.address.seal(stopped(reason))
        assert slot.incarnation is not None  # noqa: S101 - it lives, or it would not have to stop
        slot.incarnation.ask_to_stop(reason, self._nursery)

    def _pause(self, slot: Slot, delay: float) -> None:
        slot.phase = Phase.PAUSED
        slot.pause = trio.CancelScope()
        log.info("an actor will be restarted", path=slot.path, after=round(delay, 3), attempt=slot.attempt)
        self._nursery.start_soon(self._end_pause_after, slot, slot.pause, delay)

    async def _end_pause_after(self, slot: Slot, pause: trio.CancelScope, delay: float) -> None:
        with pause:
            await trio.sleep(delay)
            self._end_pause(slot)
            self._reconcile()

    def _end_pause(self, slot: Slot) -> None:
        if slot.pause is not None:
            slot.pause.cancel(reason=f"{slot.path} pauses no longer")
            slot.pause, slot.phase = None, Phase.DOWN

    def _forget(self, slot: Slot) -> None:
        self._commons.names.remove(slot.path)
        del self._slots[slot.spec.name]
