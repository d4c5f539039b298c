"""Starting, restarting and giving up. Stopping is in test_supervisor_stop."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from flytower.runtime.backoff import Backoff
from flytower.runtime.errors import (
    RestartIntensityExceeded,
    StartTimeout,
    StrayCancellation,
    SystemFailed,
)
from flytower.runtime.exits import Exit, ExitKind
from flytower.runtime.intensity import Intensity
from flytower.runtime.spec import ChildSpec, Restart
from flytower.runtime.strategy import Strategy
from flytower.runtime.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable

Lab = Any  # conftest's; tests cannot import it


async def test_children_start_in_order_each_when_the_one_before_is_ready(lab: Lab, autojump_clock: MockClock) -> None:
    async with lab.system(lab.probe("a", start=3), lab.probe("b", start=2), lab.probe("c")):
        assert lab.log == ["a starts", "a up", "b starts", "b up", "c starts", "c up"]
        assert lab.times == [0, 3, 3, 5, 5, 5]


async def test_a_crashed_permanent_child_is_restarted_after_a_pause(lab: Lab, autojump_clock: MockClock) -> None:
    async with lab.system(lab.probe("a")):
        lab.crash("a")
        await trio.sleep(0.99)
        assert not lab.living
        await trio.sleep(0.02)
        assert lab.when("a starts") == [0, 1]


@pytest.mark.parametrize(
    ("restart", "crash", "starts"),
    [
        (Restart.PERMANENT, True, 2),
        (Restart.PERMANENT, False, 2),
        (Restart.TRANSIENT, True, 2),
        (Restart.TRANSIENT, False, 1),
        (Restart.TEMPORARY, True, 1),
        (Restart.TEMPORARY, False, 1),
    ],
)
async def test_permanent_children_always_come_back_transient_ones_after_a_crash_temporary_ones_never(
    restart: Restart, *, crash: bool, starts: int, lab: Lab, autojump_clock: MockClock
) -> None:
    spec = lab.probe("a", restart=restart)
    async with lab.system(spec):
        lab.end("a", ValueError("broken") if crash else None)
        await trio.sleep(10)
        assert lab.starts["a"] == starts
        if starts == 1:
            kind = ExitKind.CRASHED if crash else ExitKind.NORMAL
            assert (await spec.address.terminated()).kind is kind


async def test_a_temporary_child_is_forgotten_and_its_name_is_free(lab: Lab, autojump_clock: MockClock) -> None:
    async with lab.system(lab.probe("a", restart=Restart.TEMPORARY)) as system:
        lab.end("a")
        await wait_all_tasks_blocked()
        assert system.tree().children == ()
        await system.root.start_child(lab.probe("a"))
        assert lab.starts["a"] == 2


async def test_a_finished_transient_child_stays_in_the_tree_and_can_be_restarted(
    lab: Lab, autojump_clock: MockClock
) -> None:
    spec = lab.probe("a", restart=Restart.TRANSIENT)
    async with lab.system(spec) as system:
        lab.end("a")
        await spec.address.terminated()
        assert [(node.path, node.kind, node.state) for node in system.tree().children] == [("/node/a", "Probe", "down")]
        await system.root.restart_child("a")
        assert "a" in lab.living
        assert spec.address.exit is None


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), ExceptionGroup("", [OSError()])]
)
async def test_whatever_a_child_raises_is_a_crash_of_that_child_only(
    error: BaseException, lab: Lab, autojump_clock: MockClock
) -> None:
    async with lab.system(lab.probe("a"), lab.probe("b")):
        lab.crash("a", error)
        await trio.sleep(2)
        assert lab.starts == {"a": 2, "b": 1}


async def test_a_cancelled_sibling_is_no_failure(lab: Lab, autojump_clock: MockClock) -> None:
    """A crash inside nested nurseries has one leaf, however many tasks it cancelled."""
    spec = lab.probe("a", restart=Restart.TEMPORARY)
    async with lab.system(spec):
        lab.crash("a", ExceptionGroup("outer", [ExceptionGroup("inner", [OSError("the one")])]))
        assert str(await spec.address.terminated()) == "crashed: OSError: the one"


async def test_a_cancellation_that_is_not_its_own_is_a_crash_of_the_child(lab: Lab, autojump_clock: MockClock) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.sleep(1)
        except trio.Cancelled as stray:
            kept = stray
            raise
    spec = lab.probe("a", restart=Restart.TEMPORARY)
    async with lab.system(spec):
        lab.crash("a", kept)
        exit_ = await spec.address.terminated()
        assert isinstance(exit_.errors[0], StrayCancellation)


async def test_a_factory_that_raises_is_a_crash_too(lab: Lab, autojump_clock: MockClock) -> None:
    def make() -> Any:
        raise ImportError("no such module")

    spec = ChildSpec("a", make, Restart.TEMPORARY)
    async with lab.system(spec) as system:
        assert (await spec.address.terminated()).reason == "ImportError: no such module"
        assert system.statistics().actors == 1


async def test_a_crash_during_the_start_counts_and_is_retried(lab: Lab, autojump_clock: MockClock) -> None:
    async with lab.system(lab.probe("a", fails=[OSError(), OSError()]), lab.probe("b")):
        assert lab.when("a starts") == [0, 1, 2]
        assert lab.when("b starts") == [2]


async def test_a_child_that_is_not_ready_in_time_is_cancelled_and_that_is_a_crash(
    lab: Lab, autojump_clock: MockClock
) -> None:
    spec = lab.probe("a", start=100, start_within=7, restart=Restart.TEMPORARY)
    async with lab.system(spec):
        exit_ = await spec.address.terminated()
        assert trio.current_time() == 7
        assert isinstance(exit_.errors[0], StartTimeout)


async def test_once_ready_a_child_lives_as_long_as_it_likes(lab: Lab, autojump_clock: MockClock) -> None:
    async with lab.system(lab.probe("a", start=6, start_within=7)):
        await trio.sleep(86400)
        assert lab.log == ["a starts", "a up"]


async def test_saying_ready_twice_does_no_harm(lab: Lab, autojump_clock: MockClock) -> None:
    async with lab.system(lab.probe("a"), lab.probe("b")):
        lab.living["a"].context.ready()
        await wait_all_tasks_blocked()
        assert lab.starts == {"a": 1, "b": 1}


async def test_a_word_from_a_former_life_makes_nobody_ready(lab: Lab, autojump_clock: MockClock) -> None:
    spec = lab.probe("a", fails=[OSError()], start=2)
    async with lab.system() as system, trio.open_nursery() as nursery:
        nursery.start_soon(system.root.start_child, spec)
        await lab.until("a starts")
        former = lab.living["a"].context
        await lab.until("a starts", times=2)
        former.ready()
        await wait_all_tasks_blocked()
        assert lab.only("up") == []
        await trio.sleep(3)
        assert lab.only("up") == ["a up"]


async def test_pauses_grow_from_crash_to_crash_and_start_again_after_a_long_life(
    lab: Lab, autojump_clock: MockClock
) -> None:
    backoff = Backoff(minimum=1, maximum=100, factor=10, reset_after=50)
    async with lab.system(lab.probe("a"), backoff=backoff, intensity=Intensity(100)):
        crashes = []
        for life in (0, 0, 0, 50):
            await trio.sleep(life)
            lab.crash("a")
            crashes.append(trio.current_time())
            await lab.until("a up", times=len(crashes) + 1)
        pauses = [start - crash for start, crash in zip(lab.when("a starts")[1:], crashes, strict=True)]
        rng = random.Random(0)  # noqa: S311 - the seed of lab.system
        expected = [backoff.delay(n, rng) for n in (1, 2, 3, 1)]
        assert pauses == pytest.approx(expected)


async def test_one_for_all_restarts_everybody_in_order(lab: Lab, autojump_clock: MockClock) -> None:
    async with lab.system(*map(lab.probe, "abc"), strategy=Strategy.ONE_FOR_ALL):
        lab.log.clear()
        lab.crash("b")
        await trio.sleep(2)
        assert lab.only("over") == ["b over", "c over", "a over"]
        assert lab.only("up") == ["a up", "b up", "c up"]


async def test_rest_for_one_restarts_those_behind_in_order(lab: Lab, autojump_clock: MockClock) -> None:
    async with lab.system(*map(lab.probe, "abcd"), strategy=Strategy.REST_FOR_ONE):
        lab.log.clear()
        lab.crash("b")
        await trio.sleep(2)
        assert lab.only("over") == ["b over", "d over", "c over"]
        assert lab.only("starts", "up") == ["b starts", "b up", "c starts", "c up", "d starts", "d up"]


async def test_a_temporary_child_that_shares_the_fate_of_another_does_not_come_back(
    lab: Lab, autojump_clock: MockClock
) -> None:
    spec = lab.probe("b", restart=Restart.TEMPORARY)
    async with lab.system(lab.probe("a"), spec, strategy=Strategy.ONE_FOR_ALL):
        lab.crash("a")
        await trio.sleep(3)
        assert lab.starts == {"a": 2, "b": 1}
        assert str(spec.address.exit).startswith("stopped")


async def test_a_child_whose_work_was_over_does_not_come_back_with_its_group(
    lab: Lab, autojump_clock: MockClock
) -> None:
    async with lab.system(lab.probe("a"), lab.probe("b", restart=Restart.TRANSIENT), strategy=Strategy.ONE_FOR_ALL):
        lab.end("b")
        await wait_all_tasks_blocked()
        lab.crash("a")
        await trio.sleep(3)
        assert lab.starts == {"a": 2, "b": 1}


async def test_a_crash_in_the_middle_of_a_group_restart_is_nothing_special(lab: Lab, autojump_clock: MockClock) -> None:
    async with lab.system(lab.probe("a"), lab.probe("b", start=2), lab.probe("c"), strategy=Strategy.REST_FOR_ONE):
        lab.crash("b")
        await trio.sleep(2)  # b is starting
        lab.crash("a")
        await trio.sleep(10)
        assert lab.living.keys() == {"a", "b", "c"}
        assert lab.starts == {"a": 2, "b": 3, "c": 2}


async def test_a_crash_of_a_child_that_is_being_recycled_is_no_further_restart(
    lab: Lab, autojump_clock: MockClock
) -> None:
    children = (lab.probe("a"), lab.probe("b"))
    async with lab.system(*children, strategy=Strategy.ONE_FOR_ALL, intensity=Intensity(1, 1000)):
        lab.crash("a")
        lab.crash("b")
        await trio.sleep(0.5)
        assert not lab.living


async def test_too_many_crashes_end_the_supervisor_with_the_whole_chain_of_causes(
    lab: Lab, autojump_clock: MockClock
) -> None:
    children = (lab.probe("a"), lab.probe("b", fails=[OSError(str(n)) for n in range(9)]))
    with pytest.raises(SystemFailed) as caught:
        async with lab.system(*children, intensity=Intensity(restarts=2, within=30)):
            pytest.fail("the block must not be entered")  # pragma: no cover
    assert lab.starts == {"a": 1, "b": 3}
    assert lab.log[-3:] == ["b over", "a told", "a over"]
    given_up = caught.value.__cause__
    assert isinstance(given_up, RestartIntensityExceeded)
    assert str(given_up) == "/node gave up: more than 2 restarts in 30 s, the last for /node/b (crashed: OSError: 2)"
    assert isinstance(given_up.__cause__, OSError)
    assert caught.value.errors == (given_up,)


async def test_restarts_that_are_far_enough_apart_go_on_for_ever(lab: Lab, autojump_clock: MockClock) -> None:
    async with lab.system(lab.probe("a"), intensity=Intensity(restarts=1, within=10)):
        for n in range(50):
            lab.crash("a", OSError(str(n)))
            await trio.sleep(10)
        assert lab.starts["a"] == 51


async def test_the_causes_of_a_group_of_errors_are_kept_together(lab: Lab, autojump_clock: MockClock) -> None:
    with pytest.raises(SystemFailed) as caught:  # noqa: PT012 - it comes out of the block
        async with lab.system(lab.probe("a"), intensity=Intensity(0)):
            lab.crash("a", ExceptionGroup("two", [OSError("one"), KeyError("two")]))
            await trio.sleep_forever()
    assert isinstance(caught.value.__cause__, RestartIntensityExceeded)
    group = caught.value.__cause__.__cause__
    assert isinstance(group, BaseExceptionGroup)
    assert [type(error) for error in group.exceptions] == [OSError, KeyError]


async def test_a_permanent_child_that_only_ends_too_often_ends_the_supervisor_too(
    lab: Lab, autojump_clock: MockClock
) -> None:
    with pytest.raises(SystemFailed, match=r"the last for /node/a \(normal\)") as caught:  # noqa: PT012 - it comes out of the block
        async with lab.system(lab.probe("a"), intensity=Intensity(0)):
            lab.end("a")
            await trio.sleep_forever()
    assert caught.value.__cause__ is not None
    assert caught.value.__cause__.__cause__ is None


async def test_a_supervisor_that_gave_up_is_restarted_by_the_one_above(lab: Lab, autojump_clock: MockClock) -> None:
    inner = Supervisor([lab.probe("a"), lab.probe("b")], intensity=Intensity(0))
    async with lab.system(inner.spec("inner")) as system:
        lab.crash("a")
        await trio.sleep(2)
        assert lab.starts == {"a": 2, "b": 2}
        node = system.tree().find("/node/inner")
        assert node is not None
        assert (node.kind, node.state, node.restarts, node.age) == ("Supervisor", "running", 1, 1)


async def test_escalation_goes_all_the_way_up(lab: Lab, autojump_clock: MockClock) -> None:
    inner = Supervisor([lab.probe("a")], intensity=Intensity(0))
    with pytest.raises(SystemFailed) as caught:  # noqa: PT012 - it comes out of the block
        async with lab.system(inner.spec("inner"), intensity=Intensity(0)):
            lab.crash("a", OSError("root cause"))
            await trio.sleep_forever()
    causes, error = [], caught.value.__cause__
    while error is not None:
        causes.append(type(error))
        error = error.__cause__
    assert causes == [RestartIntensityExceeded, RestartIntensityExceeded, OSError]


async def test_one_supervisor_cannot_run_in_two_places(lab: Lab, autojump_clock: MockClock) -> None:
    inner = Supervisor()
    spec = inner.spec("second", restart=Restart.TEMPORARY)
    async with lab.system(inner.spec("first"), spec):
        assert "already runs as /node/first" in str(await spec.address.terminated())


async def test_a_supervisor_under_a_foreign_context_is_the_root_of_its_own(lab: Lab, autojump_clock: MockClock) -> None:
    class Foreign:
        path, name, grace = "/elsewhere", "elsewhere", 5.0

        def __init__(self) -> None:
            self.rng = random.Random(0)  # noqa: S311 - seeded
            self.new_id: Callable[[], str] = lambda: "id"
            self.stop_requested = trio.Event()
            self.up = trio.Event()

        def ready(self) -> None:
            self.up.set()

        def shielded(self, seconds: float) -> trio.CancelScope:
            return trio.CancelScope(shield=True, deadline=trio.current_time() + seconds)

    context, spec = Foreign(), lab.probe("a")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Supervisor([spec]).run, context)
        await context.up.wait()
        assert spec.address.path == "/elsewhere/a"
        context.stop_requested.set()
    assert isinstance(spec.address.exit, Exit)


async def test_a_lifetime_of_a_day_runs_in_no_time(lab: Lab, autojump_clock: MockClock) -> None:
    async with lab.system(lab.probe("a"), lab.probe("b"), strategy=Strategy.REST_FOR_ONE):
        while trio.current_time() < 86400:
            await trio.sleep(600)
            lab.crash("a")
            await wait_all_tasks_blocked()
    assert lab.starts["b"] >= 140


@pytest.mark.parametrize("wrong", [{"name": ""}, {"name": "a/b"}, {"grace": -1}, {"start_within": 0}])
def test_a_spec_that_makes_no_sense_is_refused_at_once(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"component of a path|must not be negative"):
        ChildSpec(**{"name": "a", "factory": Supervisor, **wrong})
