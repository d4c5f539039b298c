"""The tools for testing, which other rooms and users rely on."""

from __future__ import annotations

import sys
from itertools import count

import pytest
import trio

from flytower.runtime.testing import CancelAtStep, Driver, LoneContext, no_leaks, run_virtual


def test_virtual_time_costs_none() -> None:
    async def day() -> float:
        await trio.sleep(86400)
        return trio.current_time()

    assert run_virtual(day) == 86400


async def test_what_a_child_without_a_supervisor_shields_is_over_after_so_many_seconds(autojump_clock: object) -> None:
    with trio.CancelScope() as outside:
        outside.cancel()
        with LoneContext().shielded(3) as shield:
            await trio.sleep_forever()
    assert trio.current_time() == 3
    assert shield.cancelled_caught
    assert not outside.cancelled_caught


def test_a_driver_runs_operations_and_carries_values_and_errors_over() -> None:
    driver = Driver()

    async def double(number: int) -> int:
        await trio.sleep(1)
        return 2 * number

    async def fail() -> None:
        raise SystemExit("carried over")

    assert driver.do(double, 21) == 42
    with pytest.raises(SystemExit, match="carried over"):
        driver.do(fail)
    assert driver.do(double, 1) == 2
    driver.close()


def test_between_two_operations_everything_stands_still() -> None:
    driver, ticks = Driver(), []

    async def tick() -> None:
        while True:
            ticks.append(trio.current_time())
            await trio.sleep(1)

    driver.nursery.start_soon(tick)
    driver.settle()
    assert ticks == [0]
    driver.advance(2.5)
    assert ticks == [0, 1, 2]
    driver.close()


def test_closing_cancels_what_is_left_and_twice_does_no_harm() -> None:
    driver, ended = Driver(), []

    async def live() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append("over")

    driver.nursery.start_soon(live)
    driver.settle()
    driver.close()
    driver.close()
    assert ended == ["over"]
    with pytest.raises(RuntimeError, match="the run of this driver is over"):
        driver.settle()


def test_a_failure_beside_the_operation_ends_the_run_and_comes_out_of_it() -> None:
    driver = Driver()

    async def fail() -> None:
        await trio.sleep(1)
        raise OSError("beside")

    driver.nursery.start_soon(fail)
    with pytest.RaisesGroup(OSError):
        driver.advance(5)
    driver.close()


def test_a_failure_while_closing_comes_out_of_close() -> None:
    driver = Driver()

    async def fail() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise OSError("on the way out")

    driver.nursery.start_soon(fail)
    driver.settle()
    with pytest.RaisesGroup(OSError):
        driver.close()


def test_without_greenlet_a_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "greenlet", None)
    with pytest.raises(ImportError, match="pip install greenlet"):
        Driver()


async def test_a_block_is_cancelled_at_its_kth_wait_and_at_no_other() -> None:
    reached: list[int] = []
    for k in count(1):
        steps = 0
        with CancelAtStep(k) as cut:
            for _ in range(3):
                await trio.lowlevel.checkpoint()
                steps += 1
        reached.append(steps)
        if not cut.hit:
            break
    assert reached == [0, 1, 2, 3]


async def test_the_steps_of_all_tasks_can_be_counted() -> None:
    """Nobody but the other task takes steps while this one sleeps."""
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def busy() -> None:
            for _ in range(10):
                await trio.lowlevel.checkpoint()

        with CancelAtStep(5, every_task=True) as cut:
            await trio.sleep_forever()
        assert cut.hit


async def test_an_error_of_the_block_is_not_swallowed() -> None:
    with pytest.raises(OSError, match="the block"), CancelAtStep(100):
        raise OSError("the block")


async def test_a_leak_is_named() -> None:
    async with trio.open_nursery() as nursery:
        with pytest.raises(AssertionError, match="still running: the leak"):
            async with no_leaks():
                nursery.start_soon(trio.sleep_forever, name="the leak")
        nursery.cancel_scope.cancel()
    async with no_leaks():
        pass
