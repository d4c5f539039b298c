"""What is left of a pause after rounding must not be waited for: a clock that stands still would never see its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from flytower.actors.polling import pause
from flytower.actors.steps import RESOLUTION, rearm
from flytower.actors.task import Stage, Waiter
from flytower.runtime.entity import Wake
from flytower.runtime.promise import Promise
from tests.actors.external_system import ExternalSystem
from tests.actors.lifecycle_steps import Reads, a_task
from tests.actors.live.client import running
from tests.actors.live.connectors import NeitherConnector

if TYPE_CHECKING:
    from trio.testing import MockClock


def test_a_poll_that_is_due_but_for_a_rounding_error_is_due() -> None:
    task = a_task(Stage.LIVE, polled_at=251.62)
    assert pause(task, 251.62 + task.policy.poll_maximum - 1e-13, Reads(251.0)) == 0.0


def test_a_timer_is_never_set_to_less_than_the_clock_can_tell() -> None:
    task = a_task(Stage.CREATING, waiters=(Waiter(Promise(), 100.1),), retry_at=100.1)
    assert rearm(task, 100.1 - 1.4e-14) == Wake(RESOLUTION)


async def test_hundreds_of_tasks_at_odd_moments_never_stop_the_clock(autojump_clock: MockClock) -> None:
    system = ExternalSystem()
    async with running(NeitherConnector(system)) as client:
        for number in range(200):
            await client.create("neither")
            await trio.sleep(0.1 + number / 7)
        await trio.sleep(600)
        assert client.node.timers.statistics().fired < 20_000
