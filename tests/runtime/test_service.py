"""The life of a service: hooks, background work, deferred answers, and every way to end."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from flytower.runtime.errors import ActorDead
from flytower.runtime.exits import Exit, ExitKind
from flytower.runtime.ref import Ref, Request
from flytower.runtime.service import MESSAGES_PER_TURN, Service
from flytower.runtime.spec import Restart, ServiceSpec
from flytower.runtime.system import open_system

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, eq=False)
class Do(Request[object]):
    """Has the service do whatever the test says."""

    what: Callable[[Scripted, Do], object]


class Scripted(Service[Do]):
    """Its hooks wait, raise and record as the test says; class attributes are set by the fixture."""

    log: list[str]
    stop_takes: float
    stop_raises: BaseException | None
    start_raises: BaseException | None

    async def started(self) -> None:
        self.log.append("started")
        if self.start_raises is not None:
            error, type(self).start_raises = self.start_raises, None
            raise error

    async def handle(self, message: Do) -> object:
        result = message.what(self, message)
        return await result if hasattr(result, "__await__") else result

    async def stopping(self, end: Exit) -> None:
        self.log.append(f"stopping {end}")
        await trio.sleep(self.stop_takes)
        self.log.append("stopped")
        if self.stop_raises is not None:
            raise self.stop_raises

    async def background(self, seconds: float, error: BaseException | None = None) -> None:
        try:
            await trio.sleep(seconds)
        except trio.Cancelled:
            self.log.append("background cancelled")
            raise
        self.log.append("background over")
        if error is not None:
            raise error


def make(name: str = "scripted", **options: object) -> ServiceSpec[Do]:
    options.setdefault("restart", Restart.TEMPORARY)
    Scripted.log, Scripted.stop_takes, Scripted.stop_raises, Scripted.start_raises = [], 0.0, None, None
    return ServiceSpec(name, Scripted, **options)  # type: ignore[arg-type]  # whatever the test sets


def sleep(seconds: float) -> Do:
    return Do(lambda _, __: trio.sleep(seconds))  # noqa: ASYNC105 - the handler awaits what comes of it


def fail(error: BaseException) -> Do:
    def raises(_: Scripted, __: Do) -> None:
        raise error

    return Do(raises)


async def test_the_hooks_run_around_the_messages(autojump_clock: MockClock) -> None:
    spec = make()
    async with open_system([spec]):
        await spec.ref.ask(Do(lambda service, _: service.log.append("handled")))
    assert Scripted.log == ["started", "handled", "stopping stopped: asked to stop", "stopped"]


async def test_one_message_is_handled_at_a_time(autojump_clock: MockClock) -> None:
    spec = make()
    async with open_system([spec]):
        spec.ref.tell(sleep(5))
        await spec.ref.ask(sleep(0))
        assert trio.current_time() >= 5


async def test_each_incarnation_is_a_fresh_object(autojump_clock: MockClock) -> None:
    spec = make(restart=Restart.PERMANENT)
    async with open_system([spec]):
        first = await spec.ref.ask(Do(lambda service, _: id(service)))
        kept = await spec.ref.ask(Do(lambda service, _: service))
        with pytest.raises(ActorDead):
            await spec.ref.ask(fail(ValueError("broken")))
        assert await spec.ref.ask(Do(lambda service, _: id(service))) != first
        assert id(kept) == first


async def test_a_crash_of_a_handler_is_told_to_the_cleanup(autojump_clock: MockClock) -> None:
    spec = make()
    async with open_system([spec]):
        spec.ref.tell(fail(ValueError("broken")))
        exit_ = await spec.ref.terminated()
    assert exit_.errors[0].args == ("broken",)
    assert Scripted.log == ["started", "stopping crashed: ValueError: broken", "stopped"]


async def test_a_failed_start_is_cleaned_up_too(autojump_clock: MockClock) -> None:
    spec = make()
    Scripted.start_raises = ValueError("no luck")
    async with open_system([spec]):
        assert (await spec.ref.terminated()).crashed
    assert Scripted.log == ["started", "stopping crashed: ValueError: no luck", "stopped"]


async def test_who_asked_hears_of_a_crash_before_the_cleanup_is_over(autojump_clock: MockClock) -> None:
    spec = make()
    Scripted.stop_takes = 4
    async with open_system([spec]):
        start = trio.current_time()
        with pytest.raises(ActorDead):
            await spec.ref.ask(fail(ValueError("broken")))
        assert trio.current_time() == start


async def test_a_handler_that_outlasts_the_grace_is_cancelled_and_cleaned_up(autojump_clock: MockClock) -> None:
    spec = make(grace=2)
    Scripted.stop_takes = 1
    async with open_system([spec]) as system:
        promise = spec.ref.ask_nowait(sleep(100))
        await wait_all_tasks_blocked()
        start = trio.current_time()
        await system.stop()
        assert trio.current_time() == start + 3
        with pytest.raises(ActorDead, match="cancelled"):
            promise.result()
    assert Scripted.log == ["started", "stopping stopped: cancelled", "stopped"]


async def test_a_cleanup_gets_what_is_left_of_the_grace(autojump_clock: MockClock) -> None:
    spec = make(grace=3)
    Scripted.stop_takes = 100
    async with open_system([spec]) as system:
        spec.ref.tell(sleep(2))
        await wait_all_tasks_blocked()
        start = trio.current_time()
        await system.stop()
        assert trio.current_time() == start + 3
    assert Scripted.log == ["started", "stopping stopped: asked to stop"]


async def test_a_cleanup_after_a_crash_is_bounded_by_the_grace(autojump_clock: MockClock) -> None:
    spec = make(grace=3)
    Scripted.stop_takes = 100
    async with open_system([spec]):
        start = trio.current_time()
        spec.ref.tell(fail(ValueError("broken")))
        assert (await spec.ref.terminated()).crashed
        assert trio.current_time() == start + 3


async def test_a_cleanup_that_fails_after_a_crash_hides_nothing(autojump_clock: MockClock) -> None:
    spec = make()
    Scripted.stop_raises = SystemExit("and worse")
    async with open_system([spec]):
        spec.ref.tell(fail(ValueError("broken")))
        exit_ = await spec.ref.terminated()
    assert [str(error) for error in exit_.errors] == ["broken", "and worse"]


async def test_a_cleanup_that_fails_on_a_stop_is_a_crash(autojump_clock: MockClock) -> None:
    spec = make()
    Scripted.stop_raises = ValueError("cannot close")
    async with open_system([spec]) as system:
        assert str(await system.root.stop_child("scripted")) == "crashed: ValueError: cannot close"


async def test_background_work_runs_beside_the_handlers_and_ends_with_the_service(autojump_clock: MockClock) -> None:
    spec = make()
    Scripted.stop_takes = 2
    async with open_system([spec]):
        await spec.ref.ask(Do(lambda service, _: service.spawn(service.background, 1)))
        await spec.ref.ask(Do(lambda service, _: service.spawn(service.background, 100)))
        await trio.sleep(1.5)
    assert Scripted.log[1:] == [
        "background over",
        "stopping stopped: asked to stop",
        "stopped",
        "background cancelled",
    ]


async def test_a_crash_of_background_work_crashes_the_service_and_fails_the_ask_in_hand(
    autojump_clock: MockClock,
) -> None:
    spec = make()
    async with open_system([spec]):
        await spec.ref.ask(Do(lambda service, _: service.spawn(service.background, 1, ValueError("behind"))))
        with pytest.raises(ActorDead, match="ValueError: behind"):
            await spec.ref.ask(sleep(100))
        exit_ = await spec.ref.terminated()
    assert [str(error) for error in exit_.errors] == ["behind"]  # the handler was only cancelled: that is no failure
    assert "stopping crashed: ValueError: behind" in Scripted.log


async def test_background_work_may_ask_its_own_service(autojump_clock: MockClock) -> None:
    spec = make()

    async def ask_back(ref: Ref[Do], log: list[str]) -> None:
        log.append(str(await ref.ask(Do(lambda _, __: "no cycle"))))

    async with open_system([spec]):
        await spec.ref.ask(Do(lambda service, _: service.spawn(ask_back, service.ref, service.log)))
        await wait_all_tasks_blocked()
        assert "no cycle" in Scripted.log


async def test_an_answer_can_be_deferred(autojump_clock: MockClock) -> None:
    spec = make()

    async def later(service: Scripted, request: Do) -> str:
        promise = service.defer(request)

        async def answer() -> None:
            await trio.sleep(5)
            promise.resolve("later")

        service.spawn(answer)
        return "ignored"

    async with open_system([spec]):
        promise = spec.ref.ask_nowait(Do(later))
        assert await spec.ref.ask(Do(lambda _, __: "meanwhile")) == "meanwhile"
        assert not promise.done
        assert await promise.wait() == "later"


async def test_a_deferred_answer_can_still_be_given_by_the_cleanup_of_a_stop(autojump_clock: MockClock) -> None:
    class Ledger(Service[Do]):
        async def handle(self, message: Do) -> None:
            self.promise = self.defer(message)

        async def stopping(self, end: Exit) -> None:
            await trio.sleep(1)
            self.promise.resolve("flushed")

    spec = ServiceSpec("ledger", Ledger)
    async with open_system([spec]):
        promise = spec.ref.ask_nowait(sleep(0))
        await wait_all_tasks_blocked()
    assert promise.result() == "flushed"


@pytest.mark.parametrize("error", [None, ValueError("broken")])
async def test_deferred_answers_fail_when_the_service_ends_without_them(
    error: Exception | None, autojump_clock: MockClock
) -> None:
    spec = make()
    async with open_system([spec]) as system:
        promise = spec.ref.ask_nowait(Do(lambda service, request: service.defer(request)))
        await wait_all_tasks_blocked()
        if error is None:
            await system.stop()
        else:
            spec.ref.tell(fail(error))
            await spec.ref.terminated()
        with pytest.raises(ActorDead):
            promise.result()


async def test_a_withdrawn_deferred_answer_is_forgotten(autojump_clock: MockClock) -> None:
    spec = make()
    async with open_system([spec]):
        with trio.move_on_after(1):
            await spec.ref.ask(Do(lambda service, request: service.defer(request)))
        assert await spec.ref.ask(Do(lambda service, _: len(service._owed))) == 0


async def test_a_told_request_can_be_deferred_too(autojump_clock: MockClock) -> None:
    spec = make()
    async with open_system([spec]):
        spec.ref.tell(Do(lambda service, request: service.defer(request).resolve("to nobody")))
        assert await spec.ref.ask(Do(lambda _, __: "alive")) == "alive"


async def test_only_the_request_in_hand_can_be_deferred(autojump_clock: MockClock) -> None:
    spec = make()
    async with open_system([spec]):
        spec.ref.tell(Do(lambda service, _: service.defer(sleep(0))))
        exit_ = await spec.ref.terminated()
        assert "defer() is for the request in hand" in exit_.reason


async def test_a_service_can_end_itself_which_is_normal(autojump_clock: MockClock) -> None:
    spec = make(restart=Restart.TRANSIENT)
    async with open_system([spec]):
        assert await spec.ref.ask(Do(lambda service, _: service.finish())) is None
        assert (await spec.ref.terminated()).kind is ExitKind.NORMAL
    assert Scripted.log == ["started", "stopping normal", "stopped"]


async def test_a_service_can_end_itself_from_background_work(autojump_clock: MockClock) -> None:
    spec = make()

    async def finish_later(service: Scripted) -> None:
        await trio.sleep(3)
        service.finish()

    async with open_system([spec]):
        await spec.ref.ask(Do(lambda service, _: service.spawn(finish_later, service)))
        assert (await spec.ref.terminated()).kind is ExitKind.NORMAL


async def test_a_stop_for_a_restart_leaves_what_waits_to_the_next_incarnation(autojump_clock: MockClock) -> None:
    spec = make(restart=Restart.PERMANENT)
    async with open_system([spec]) as system:
        spec.ref.tell(sleep(1))
        waiting = spec.ref.ask_nowait(Do(lambda service, _: service.log.count("started")))
        await wait_all_tasks_blocked()
        await system.root.restart_child("scripted")
        assert await waiting.wait() == 2


async def test_a_service_that_never_waits_lets_others_run(autojump_clock: MockClock) -> None:
    spec, turns = make(mailbox=10 * MESSAGES_PER_TURN), []
    async with open_system([spec]):
        for _ in range(9 * MESSAGES_PER_TURN):
            spec.ref.tell(Do(lambda service, _: service.log.append("x")))
        while len(Scripted.log) < 9 * MESSAGES_PER_TURN:
            await trio.lowlevel.checkpoint()
            turns.append(len(Scripted.log))
    # between two steps of this task, the service has one turn, or two when the scheduler shuffles the order
    assert len(turns) > 3
    assert all(after - before <= 2 * MESSAGES_PER_TURN for before, after in pairwise(turns))


async def test_the_tree_says_what_it_is_doing(autojump_clock: MockClock) -> None:
    spec = make()
    Scripted.stop_takes = 1
    async with open_system([spec]) as system:

        def state() -> tuple[str, int]:
            node = system.tree().find("/node/scripted")
            assert node is not None
            assert node.kind == "Scripted"
            return node.state, node.mailbox

        assert state() == ("idle", 0)
        spec.ref.tell(sleep(1))
        spec.ref.tell(sleep(1))
        await wait_all_tasks_blocked()
        assert state() == ("handling Do", 1)
        await trio.sleep(3)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(system.stop)
            await wait_all_tasks_blocked()
            assert state() == ("stopping", 0)


async def test_a_service_without_a_handler_says_so(autojump_clock: MockClock) -> None:
    spec: ServiceSpec[str] = ServiceSpec("mute", Service, Restart.TEMPORARY)
    async with open_system([spec]):
        spec.ref.tell("hello")
        assert "Service has no handle(), and got a str" in (await spec.ref.terminated()).reason


def test_a_service_without_a_spec_says_so() -> None:
    with pytest.raises(RuntimeError, match="run it by way of a ServiceSpec"):
        _ = Scripted().ref


async def test_ctrl_c_is_kept_away_from_handlers_and_background_work(autojump_clock: MockClock) -> None:
    """Trio then delivers it to the main task, so no actor's crash swallows it."""
    spec = make()
    seen: list[bool] = []

    async def background() -> None:
        seen.append(trio.lowlevel.currently_ki_protected())

    async with open_system([spec]):
        await spec.ref.ask(Do(lambda service, _: service.spawn(background)))
        assert await spec.ref.ask(Do(lambda _, __: trio.lowlevel.currently_ki_protected()))
        await wait_all_tasks_blocked()
    assert seen == [True]
