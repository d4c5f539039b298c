"""Timers against a sorted list."""

from __future__ import annotations

from typing import Any

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from flytower.runtime.testing import run_virtual
from flytower.runtime.timers import Pace, Timers
from tests.runtime.entities.owner import Owner

OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 5), st.integers(-20, 400)),
        st.tuples(st.just("cancel"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("sleep"), st.just(0), st.integers(0, 200)),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=200)
@given(operations=OPERATIONS, batch=st.integers(1, 5))
def test_timers_come_due_exactly_as_a_sorted_list_says(operations: list[Any], batch: int) -> None:
    """Instants are in milliseconds; the model keeps (tick, order of setting) for each owner."""
    log: list[tuple[object, float]] = []
    expected: list[tuple[object, float]] = []
    model: dict[int, tuple[int, int]] = {}

    async def main() -> None:
        timers = Timers(quiet=Pace(batch, 1, batch))
        owners = [Owner(number, log) for number in range(6)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(timers.fire_for_ever)
            await trio.testing.wait_all_tasks_blocked()
            now = 0
            for order, (operation, number, milliseconds) in enumerate(operations):
                if operation == "set":
                    timers.schedule(owners[number], (now + milliseconds) / 1000)
                    model[number] = (max(0, -(-(now + milliseconds) // 10)), order)
                elif operation == "cancel":
                    timers.cancel(owners[number])
                    model.pop(number, None)
                else:
                    before, now = now, now + milliseconds
                    for (tick, _), owner in sorted((entry, owner) for owner, entry in model.items()):
                        if tick * 10 <= now:
                            expected.append((owner, max(tick * 10, before)))
                            del model[owner]
                    await trio.sleep_until(now / 1000 + 1e-9)  # 47 * 0.01 is a little more than 0.47
                    await trio.testing.wait_all_tasks_blocked()
                    assert timers.statistics().pending == len(model)
            nursery.cancel_scope.cancel()

    run_virtual(main)
    assert [(owner, round(time * 1000)) for owner, time in log] == expected
