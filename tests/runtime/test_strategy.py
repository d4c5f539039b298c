"""The decisions of a supervisor, alone: simulated to the end from any state, for each strategy."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flytower.runtime.strategy import Phase, Row, Strategy, next_starts, next_stop, sharing

strategies = st.sampled_from(Strategy)


@st.composite
def rows(draw: st.DrawFn) -> Row:
    """Draw any state that a supervisor can get a child into."""
    wanted = draw(st.booleans())
    phase = draw(st.sampled_from(Phase))
    if phase is Phase.PAUSED:
        wanted = True
    recycle = wanted and phase in {Phase.STARTING, Phase.UP} and draw(st.booleans())
    return Row(phase, wanted, recycle, settled=phase is Phase.UP or draw(st.booleans()))


def running(count: int) -> list[Row]:
    return [Row(Phase.UP, settled=True) for _ in range(count)]


def step(strategy: Strategy, table: list[Row]) -> list[tuple[str, int]]:
    """Do what is decided, as the supervisor does, and return it."""
    done = []
    stop = next_stop(table)
    if stop is not None:
        table[stop].phase, table[stop].recycle = Phase.STOPPING, False
        done.append(("stop", stop))
    for start in next_starts(strategy, table):
        table[start].phase = Phase.STARTING
        done.append(("start", start))
    return done


def let_one_go_on(table: list[Row], index: int) -> None:
    """Let a child take the step that only it can take."""
    row = table[index]
    if row.phase is Phase.STARTING and not row.recycle:
        row.phase, row.settled = Phase.UP, True
    elif row.phase in {Phase.STOPPING, Phase.PAUSED}:
        row.phase = Phase.DOWN


def run_to_the_end(strategy: Strategy, table: list[Row], data: st.DataObject) -> list[tuple[str, int]]:
    done = step(strategy, table)
    while busy := [i for i, row in enumerate(table) if row.phase in {Phase.STARTING, Phase.STOPPING, Phase.PAUSED}]:
        let_one_go_on(table, data.draw(st.sampled_from(busy)))
        done += step(strategy, table)
    return done


@given(strategies, st.lists(rows(), max_size=6), st.data())
def test_from_any_state_the_steps_lead_to_exactly_the_wanted_children_running(
    strategy: Strategy, table: list[Row], data: st.DataObject
) -> None:
    run_to_the_end(strategy, table, data)
    assert [row.phase for row in table] == [Phase.UP if row.wanted else Phase.DOWN for row in table]


@given(strategies, st.lists(rows(), max_size=6))
def test_never_do_two_children_stop_at_once_nor_one_before_a_later_one_that_must_stop_too(
    strategy: Strategy, table: list[Row]
) -> None:
    stop = next_stop(table)
    if stop is not None:
        assert all(row.phase is not Phase.STOPPING for row in table)
        assert not any(row.leaving for row in table[stop + 1 :])


@given(strategies, st.integers(0, 6), st.data())
def test_the_first_start_is_in_order_each_when_all_before_it_were_up(
    strategy: Strategy, count: int, data: st.DataObject
) -> None:
    table = [Row() for _ in range(count)]
    for index in range(count):
        assert step(strategy, table) == [("start", index)]
        let_one_go_on(table, index)
    assert step(strategy, table) == []


@given(strategies, st.integers(0, 6), st.data())
def test_the_last_stop_is_in_reverse_order(strategy: Strategy, count: int, data: st.DataObject) -> None:
    table = running(count)
    for row in table:
        row.wanted = False
    assert run_to_the_end(strategy, table, data) == [("stop", i) for i in reversed(range(count))]


def crash(strategy: Strategy, table: list[Row], index: int) -> None:
    table[index].phase = Phase.PAUSED
    for other in sharing(strategy, index, len(table)):
        table[other].recycle = table[other].phase in {Phase.STARTING, Phase.UP}


def test_one_for_one_leaves_the_siblings_alone() -> None:
    table = running(3)
    crash(Strategy.ONE_FOR_ONE, table, 0)
    assert step(Strategy.ONE_FOR_ONE, table) == []
    let_one_go_on(table, 0)
    assert step(Strategy.ONE_FOR_ONE, table) == [("start", 0)]


def test_one_for_one_restarts_a_child_whatever_its_siblings_are_at() -> None:
    table = [Row(Phase.PAUSED, settled=True), Row(Phase.DOWN, settled=True), Row(Phase.STOPPING, settled=True)]
    assert step(Strategy.ONE_FOR_ONE, table) == [("start", 1)]


@given(st.data())
def test_rest_for_one_takes_down_those_behind_in_reverse_and_brings_all_back_in_order(data: st.DataObject) -> None:
    table = running(4)
    crash(Strategy.REST_FOR_ONE, table, 1)
    done = run_to_the_end(Strategy.REST_FOR_ONE, table, data)
    assert done == [("stop", 3), ("stop", 2), ("start", 1), ("start", 2), ("start", 3)]


@given(st.data())
def test_one_for_all_takes_down_all_in_reverse_and_brings_all_back_in_order(data: st.DataObject) -> None:
    table = running(3)
    crash(Strategy.ONE_FOR_ALL, table, 1)
    done = run_to_the_end(Strategy.ONE_FOR_ALL, table, data)
    assert done == [("stop", 2), ("stop", 0), ("start", 0), ("start", 1), ("start", 2)]


def test_one_for_all_comes_back_only_after_the_pause_of_the_one_that_failed() -> None:
    table = [Row(), Row(Phase.PAUSED), Row()]
    assert step(Strategy.ONE_FOR_ALL, table) == []
    let_one_go_on(table, 1)
    assert step(Strategy.ONE_FOR_ALL, table) == [("start", 0)]


def test_a_child_that_is_not_wanted_holds_nobody_up() -> None:
    for strategy in Strategy:
        table = [Row(Phase.DOWN, wanted=False), Row()]
        assert step(strategy, table) == [("start", 1)]


def test_a_sibling_that_is_down_already_shares_no_fate() -> None:
    table = [*running(1), Row(Phase.DOWN, wanted=False, settled=True)]
    crash(Strategy.ONE_FOR_ALL, table, 0)
    assert step(Strategy.ONE_FOR_ALL, table) == []


def test_a_row_says_what_is_wanted_of_its_child() -> None:
    assert repr(Row(Phase.UP, recycle=True)) == "<Row UP, wanted True, recycle True, settled False>"
