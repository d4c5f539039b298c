"""What a host promises to whoever runs it: from before it runs until nothing of it is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from flytower.runtime.context import Child
from flytower.runtime.entity import Call, End, Reply, Returned, Wake, Woke
from flytower.runtime.host import BATCH, EntityHost, Phase
from flytower.runtime.host_errors import EntityGone, EntityLives, HostFull
from flytower.runtime.lanes import Lane
from flytower.runtime.testing import run_virtual
from flytower.runtime.timers import QUIET, Timers
from tests.runtime.entities.deeds import five
from tests.runtime.entities.turns import Turns

if TYPE_CHECKING:
    from trio.testing import MockClock


# ---- before it runs -------------------------------------------------------------------------------------------


async def test_a_host_and_its_timers_are_children(bench: Any) -> None:
    assert isinstance(bench.host, Child)
    assert isinstance(Timers(), Child)


async def test_what_is_asked_of_a_host_before_it_runs_is_done_in_order_before_it_is_ready(
    bench: Any, autojump_clock: MockClock
) -> None:
    host = bench.host
    host.start("a", "given", [Wake(3), Call("fast", 1, five, 9), "first"])
    bench.tell("a", "second")
    asked = host.ask("a", lambda promise: bench.Do((Reply(promise, 1),), "told"))
    assert host.has("a")
    assert (host.state("a"), asked.done, bench.behaviour.performed) == ("given", False, [])
    assert host.statistics().phase is Phase.NEW
    assert host.inspect("/bench", 5.0).mailbox == 3
    await trio.sleep(10)
    async with bench.run():
        assert (host.state("a"), asked.result()) == ("told", 1)
        assert [effect for _, _, effect in bench.behaviour.performed] == ["first", "second"]
        await trio.sleep(10)
    assert bench.behaviour.times(Woke) == [13]
    assert bench.behaviour.times(Returned) == [10]


async def test_an_entity_that_is_ended_before_the_host_runs_ends_when_it_does(bench: Any) -> None:
    bench.host.start("a", "")
    bench.host.stop_entity("a", "changed my mind")
    assert bench.host.has("a")
    async with bench.run():
        assert not bench.host.has("a")


async def test_many_entities_are_started_a_batch_in_each_turn(bench: Any) -> None:
    turns, begun = Turns(), []
    trio.lowlevel.add_instrument(turns)
    for key in range(10 * BATCH):
        bench.host.start(key, "", [lambda: begun.append(turns.count)])
    async with bench.run():
        assert [begun.count(turn) for turn in sorted(set(begun))] == [BATCH] * 10


async def test_a_host_comes_up_however_busy_its_first_entities_are(bench: Any, autojump_clock: MockClock) -> None:
    """What happens while it starts waits its turn, and must not keep it from ever being ready."""
    bench.behaviour.reactions[Returned] = lambda *_: bench.Do((Call("fast", 1, five, 9), Wake(0)))
    bench.behaviour.reactions[Woke] = lambda *_: bench.Do((Wake(0),))
    for key in range(20 * BATCH):
        bench.host.start(key, "", [Call("fast", 1, five, 9), Wake(0)])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.host.run, bench.context)
        for _ in range(60):
            await trio.lowlevel.checkpoint()
        assert bench.context.is_ready.is_set()
        nursery.cancel_scope.cancel()
    bench.nothing_is_left()


# ---- entities -------------------------------------------------------------------------------------------------


async def test_a_key_has_one_entity(bench: Any) -> None:
    async with bench.run():
        bench.host.start("a", "first")
        with pytest.raises(EntityLives, match="bench has an entity 'a' already"):
            bench.host.start("a", "second")
        assert bench.host.state("a") == "first"
        assert bench.host.keys() == ["a"]


async def test_a_host_takes_so_many_entities_and_no_more(new_bench: Any) -> None:
    bench = new_bench(limit=2)
    async with bench.run():
        bench.host.start("a", "")
        bench.host.start("b", "")
        with pytest.raises(HostFull, match="has 2 entities"):
            bench.host.start("c", "")
        bench.tell("a", End())
        bench.host.start("c", "")
        assert bench.host.keys() == ["b", "c"]


async def test_the_state_of_nobody_is_an_error(bench: Any) -> None:
    with pytest.raises(EntityGone):
        bench.host.state("nobody")


def test_lanes_of_one_host_have_different_names(new_bench: Any) -> None:
    with pytest.raises(ValueError, match="two lanes of host 'bench'"):
        new_bench(lanes=[Lane("polls", 1), Lane("polls", 2)])


async def test_hosts_share_timers_that_somebody_else_runs(new_bench: Any, autojump_clock: MockClock) -> None:
    timers = Timers()
    one, two = new_bench(timers=timers), new_bench(timers=timers)
    async with one.running(timers), one.run():
        async with two.run():
            one.host.start("a", "", [Wake(1)])
            two.host.start("a", "", [Wake(5)])
            await trio.sleep(2)
        assert timers.statistics().pending == 0, "the timer of the host that ended is gone"
        one.tell("a", Wake(1))
        await trio.sleep(10)
    assert one.behaviour.times(Woke) == [1, 3]
    assert two.behaviour.times(Woke) == []


# ---- the tree -------------------------------------------------------------------------------------------------


async def test_every_entity_is_a_node_of_the_tree(bench: Any, autojump_clock: MockClock) -> None:
    async with bench.run():
        bench.host.start("s3://bucket/key", "LIVE")
        await trio.sleep(3)
        node = bench.host.inspect("/node/host", trio.current_time())
        assert (node.path, node.kind, node.state, node.age) == ("/node/host", "EntityHost", "running", 3)
        (entity,) = node.children
        assert entity.path == "/node/host/s3:%2F%2Fbucket%2Fkey"
        assert (entity.kind, entity.state, entity.mailbox, entity.restarts, entity.age) == ("Scripted", "LIVE", 0, 0, 3)


async def test_entities_beyond_the_limit_are_one_node_together(new_bench: Any, autojump_clock: MockClock) -> None:
    bench = new_bench(inspect_limit=2)
    bench.behaviour.restorable[3] = [bench.Do(state="restored")]
    async with bench.run():
        for key in range(5):
            bench.host.start(key, "LIVE")
            await trio.sleep(1)
        bench.host.tell(3, bench.Fail(ValueError("bad")))
        nodes = bench.host.inspect("/h", trio.current_time()).children
        assert [node.path for node in nodes] == ["/h/0", "/h/1", "/h/..."]
        assert (nodes[2].kind, nodes[2].state, nodes[2].restarts, nodes[2].age) == ("Scripted", "3 more", 1, 3)
        assert nodes[2].count == 3


async def test_in_a_summary_all_entities_are_one_node_and_restarts_of_those_that_are_over_count(
    bench: Any, autojump_clock: MockClock
) -> None:
    bench.behaviour.restorable[1] = [bench.Do(state="restored")]
    async with bench.run():
        (nobody,) = bench.host.summarize("/h", trio.current_time()).children
        assert (nobody.kind, nobody.count, nobody.restarts, nobody.age) == ("Scripted", 0, 0, 0)
        for key in range(5):
            bench.host.start(key, "LIVE")
            await trio.sleep(1)
        bench.host.tell(1, bench.Fail(ValueError("bad")))
        bench.host.stop_entity(1, "it is over")
        (node,) = bench.host.summarize("/h", trio.current_time()).children
        assert (node.path, node.count, node.restarts, node.age) == ("/h/...", 4, 1, 5)


# ---- a storm --------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_of_twenty_thousand_entities_due_at_once_no_turn_of_the_loop_starts_more_than_the_cap(
    new_bench: Any, autojump_clock: MockClock
) -> None:
    workers = 16
    bench = new_bench(lanes=[Lane("polls", workers)])
    turns = Turns()
    woken: dict[int, int] = {}
    begun: dict[int, int] = {}

    async def poll() -> None:
        begun[turns.count] = begun.get(turns.count, 0) + 1
        await trio.lowlevel.checkpoint()

    effect = Call("polls", 1, poll, 60)

    def woke(*_: object) -> Any:
        woken[turns.count] = woken.get(turns.count, 0) + 1
        return bench.Do((effect,))

    bench.behaviour.reactions[Woke] = woke
    async with bench.run():
        for key in range(20_000):
            bench.host.start(key, "", [Wake(1)])
        trio.lowlevel.add_instrument(turns)
        await trio.sleep(2)
        trio.lowlevel.remove_instrument(turns)
        assert sum(woken.values()) == sum(begun.values()) == 20_000
        assert max(woken.values()) == QUIET.most
        assert max(begun.values()) <= workers
        bench.behaviour.heard.clear()


def test_a_day_in_the_life_of_an_entity_takes_no_time(new_bench: Any) -> None:
    async def main() -> int:
        bench = new_bench()
        bench.behaviour.reactions[Woke] = lambda *_: bench.Do((Call("fast", 1, five, 9),))
        bench.behaviour.reactions[Returned] = lambda *_: bench.Do((Wake(60),))
        async with bench.run():
            bench.host.start("a", "", [Wake(60)])
            await trio.sleep(86_399)
        return len(bench.behaviour.messages(Returned))

    assert run_virtual(main) == 1439


def test_a_host_has_timers_of_its_own_unless_given_some(new_bench: Any) -> None:
    assert EntityHost("x", new_bench().behaviour)._timers is not EntityHost("y", new_bench().behaviour)._timers
