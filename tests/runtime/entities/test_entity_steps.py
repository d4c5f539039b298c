"""What one entity may count on: how its messages become transitions, and its effects deeds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from flytower.runtime.entity import (
    Call,
    CancelCall,
    End,
    Raised,
    Refuse,
    Reply,
    Returned,
    Sleep,
    TimedOut,
    Wake,
    Woke,
)
from flytower.runtime.host_errors import CallTagBusy, EntityGone, EntityMailboxFull, LaneFull, UnknownLane
from flytower.runtime.lanes import Lane
from tests.runtime.entities.deeds import boom, five

if TYPE_CHECKING:
    from trio.testing import MockClock

    from flytower.runtime.promise import Promise


# ---- messages -------------------------------------------------------------------------------------------------


async def test_a_message_to_an_idle_entity_is_handled_before_tell_returns(bench: Any) -> None:
    async with bench.run():
        bench.host.start("a", "new")
        assert bench.tell("a", state="told")
        assert bench.host.state("a") == "told"


async def test_messages_sent_from_inside_a_step_are_handled_right_after_it_in_order(bench: Any) -> None:
    """No step begins inside another one: each hears of the state that the one before has left."""
    host, order = bench.host, []

    def send() -> None:
        for state in ("2", "3"):
            assert host.tell("a", bench.Do((lambda: order.append(host.state("a")),), state))
            assert host.tell("b", bench.Do((lambda: order.append("b" + host.state("a")),)))
        order.append(host.state("a"))

    async with bench.run():
        host.start("a", "0")
        host.start("b", "")
        bench.tell("a", send, lambda: order.append("last effect"), state="1")
    assert order == ["1", "last effect", "2", "b2", "3", "b3"]


async def test_entities_that_talk_in_a_long_chain_do_not_use_up_the_stack(bench: Any) -> None:
    host = bench.host

    def pass_on(number: int) -> None:
        if number < 5_000:
            bench.tell(number % 7, lambda: pass_on(number + 1))

    async with bench.run():
        for key in range(7):
            host.start(key, "")
        pass_on(0)
        assert len(bench.behaviour.performed) == 5_000


async def test_a_mailbox_holds_so_many_messages_and_no_more(new_bench: Any) -> None:
    bench = new_bench(mailbox_limit=3)
    told: list[bool] = []
    refused: list[Promise[Any]] = []

    def flood() -> None:
        told.extend(bench.tell("a") for _ in range(5))
        told.append(bench.tell("b"))
        refused.append(bench.host.ask("a", lambda promise: bench.Do((Reply(promise, 1),))))

    async with bench.run():
        bench.host.start("a", "")
        bench.host.start("b", "")
        bench.tell("a", flood)
        assert told == [True, True, True, False, False, True]
        with pytest.raises(EntityMailboxFull, match="3 messages wait for entity 'a'"):
            refused[0].result()
        assert bench.tell("a")
        assert len(bench.behaviour.heard) == 6


async def test_a_message_to_nobody_is_a_dead_letter(bench: Any) -> None:
    async with bench.run():
        assert not bench.tell("nobody")
        assert bench.host.statistics().dead_letters == 1


async def test_a_message_that_waits_for_an_entity_that_ends_is_a_dead_letter(bench: Any, logs: list[Any]) -> None:
    host, asked = bench.host, []

    def send() -> None:
        bench.tell("a", End())
        bench.tell("a")
        asked.append(host.ask("a", lambda promise: bench.Do((Reply(promise, 1),))))

    async with bench.run():
        host.start("a", "")
        bench.tell("a", send)
        assert not host.has("a")
        assert host.statistics().dead_letters == 2
        assert host.statistics().queued == 0
        with pytest.raises(EntityGone, match="'a' gives no answer any more"):
            asked[0].result()
    assert [entry["message"] for entry in logs if entry["event"] == "dead letter"] == ["Do", "Do"]


# ---- asks -----------------------------------------------------------------------------------------------------


async def test_an_ask_is_answered_in_the_same_breath(bench: Any) -> None:
    async with bench.run():
        bench.host.start("a", "")
        promise = bench.host.ask("a", lambda promise: bench.Do((Reply(promise, 42),)))
        assert promise.result() == 42


async def test_an_ask_can_be_answered_later_or_refused(bench: Any, autojump_clock: MockClock) -> None:
    promises: list[Promise[int]] = []
    bench.behaviour.reactions[Woke] = lambda *_: bench.Do((Reply(promises[0], 7), Refuse(promises[1], KeyError("no"))))
    async with bench.run():
        bench.host.start("a", "", [Wake(3)])
        promises.extend(bench.host.ask("a", lambda _: bench.Do()) for _ in range(2))
        assert await promises[0].wait() == 7
        assert trio.current_time() == 3
        with pytest.raises(KeyError):
            await promises[1].wait()


async def test_an_ask_of_nobody_is_rejected_at_once(bench: Any) -> None:
    async with bench.run():
        with pytest.raises(EntityGone, match="no entity has that key"):
            bench.host.ask("nobody", lambda _: bench.Do()).result()


@pytest.mark.parametrize("how", ["End", "stop_entity", "crash", "same step"])
async def test_what_an_entity_was_asked_and_has_not_answered_is_rejected_when_it_ends(bench: Any, how: str) -> None:
    async with bench.run():
        bench.host.start("a", "")
        if how == "same step":
            promise = bench.host.ask("a", lambda _: bench.Do((End(),)))
        else:
            promise = bench.host.ask("a", lambda _: bench.Do())
            assert not promise.done
        if how == "End":
            bench.tell("a", End())
        elif how == "stop_entity":
            bench.host.stop_entity("a", "enough")
        elif how == "crash":
            bench.host.tell("a", bench.Fail(ValueError("bad")))
        with pytest.raises(EntityGone) as caught:
            promise.result()
        assert caught.value.key == "a"
        assert caught.value.exit is bench.behaviour.ends[0][2]


async def test_an_ask_that_makes_the_entity_crash_is_rejected_even_when_it_is_restarted(bench: Any) -> None:
    bench.behaviour.restorable["a"] = [bench.Do(state="restored")]
    async with bench.run():
        bench.host.start("a", "")
        promise = bench.host.ask("a", lambda _: bench.Fail(ValueError("bad")))
        with pytest.raises(EntityGone, match="bad"):
            promise.result()
        assert bench.host.state("a") == "restored"


async def test_an_ask_that_waits_while_the_entity_crashes_is_answered_by_the_next_incarnation(bench: Any) -> None:
    bench.behaviour.restorable["a"] = [bench.Do(state="restored")]
    asked: list[Promise[int]] = []

    def crash_then_ask() -> None:
        bench.host.tell("a", bench.Fail(ValueError("bad")))
        asked.append(bench.host.ask("a", lambda promise: bench.Do((Reply(promise, 1),))))

    async with bench.run():
        bench.host.start("a", "")
        bench.tell("a", crash_then_ask)
        assert asked[0].result() == 1


async def test_an_answered_or_withdrawn_promise_is_not_kept(bench: Any) -> None:
    async with bench.run():
        bench.host.start("a", "")
        answered: Promise[int] = bench.host.ask("a", lambda _: bench.Do())
        withdrawn: Promise[int] = bench.host.ask("a", lambda _: bench.Do())
        record = bench.host._records["a"]
        assert list(record.promises) == [answered, withdrawn]
        bench.tell("a", Reply(answered, 1))
        withdrawn.withdraw()
        assert record.promises is None
        bench.host.ask("a", lambda promise: (promise.withdraw(), bench.Do())[1])
        assert record.promises is None


async def test_a_callback_of_a_promise_that_raises_harms_only_itself(bench: Any, logs: list[Any]) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("event loop is closed")

    async with bench.run():
        bench.host.start("a", "")
        promises = [bench.host.ask("a", lambda _: bench.Do()) for _ in range(3)]
        for promise in promises:
            promise.add_done_callback(broken)
        bench.tell("a", Reply(promises[0], 1), Refuse(promises[1], KeyError()), state="went on")
        assert bench.host.state("a") == "went on"
        bench.tell("a", End())
        assert all(promise.done for promise in promises)
    assert [entry["event"] for entry in logs] == ["callback raised"] * 3


# ---- the timer ------------------------------------------------------------------------------------------------


async def test_an_entity_is_woken_after_its_delay(bench: Any, autojump_clock: MockClock) -> None:
    async with bench.run():
        await trio.sleep(1)
        bench.host.start("a", "", [Wake(3)])
        await trio.sleep(10)
    assert bench.behaviour.times(Woke) == [4]


async def test_an_entity_has_one_timer(bench: Any, autojump_clock: MockClock) -> None:
    async with bench.run():
        bench.host.start("a", "", [Wake(1), Wake(5)])
        bench.host.start("b", "", [Wake(2), Sleep()])
        await trio.sleep(10)
    assert bench.behaviour.times(Woke) == [5]


async def test_a_spread_is_drawn_from_the_systems_randomness(new_bench: Any, autojump_clock: MockClock) -> None:
    times = []
    for _ in range(2):
        bench = new_bench()
        async with bench.run():
            began = trio.current_time()
            for key in range(200):
                bench.host.start(key, "", [Wake(10, spread=5)])
            await trio.sleep(20)
        times.append([time - began for time in bench.behaviour.times(Woke)])
    assert times[0] == pytest.approx(times[1])
    assert 10 <= min(times[0]) < 10.5
    assert 14.5 < max(times[0]) <= 15.01


# ---- calls ----------------------------------------------------------------------------------------------------


async def test_how_a_call_ended_comes_back_as_a_message(bench: Any, autojump_clock: MockClock) -> None:
    async with bench.run():
        bench.host.start(
            "a", "", [Call("fast", 1, five, 9), Call("fast", 2, boom, 9), Call("fast", 3, trio.sleep_forever, 4)]
        )
        await trio.sleep(10)
    assert sorted(bench.behaviour.messages(Returned)) == [Returned(1, 5)]
    (raised,) = bench.behaviour.messages(Raised)
    assert (raised.tag, str(raised.error)) == (2, "boom")
    assert bench.behaviour.messages(TimedOut) == [TimedOut(3, 4)]
    assert bench.behaviour.times(TimedOut) == [4]


async def test_a_tag_is_free_again_when_its_call_is_over(bench: Any) -> None:
    bench.behaviour.reactions[Returned] = lambda state, _: (
        bench.Do((Call("fast", "poll", five, 9),), state + "x") if len(state) < 3 else bench.Do()
    )
    async with bench.run():
        bench.host.start("a", "", [Call("fast", "poll", five, 9)])
        await wait_all_tasks_blocked()
        assert bench.host.state("a") == "xxx"
        assert bench.host._records["a"].calls == {}


async def test_a_second_call_of_a_tag_is_a_mistake_of_the_behaviour(bench: Any) -> None:
    async with bench.run():
        bench.host.start("a", "", [Call("fast", 1, trio.sleep_forever, 9)])
        bench.tell("a", Call("fast", 1, five, 9))
        ((_, _, exit_),) = bench.behaviour.ends
        assert isinstance(exit_.errors[0], CallTagBusy)


async def test_a_lane_that_is_not_there_is_a_mistake_of_the_behaviour(bench: Any) -> None:
    async with bench.run():
        bench.host.start("a", "", [Call("nowhere", 1, five, 9)])
        ((_, _, exit_),) = bench.behaviour.ends
        assert isinstance(exit_.errors[0], UnknownLane)
        assert "no lane 'nowhere', only ['fast', 'slow']" in exit_.reason


async def test_a_cancelled_call_is_not_heard_of_and_its_tag_is_free_at_once(
    bench: Any, autojump_clock: MockClock
) -> None:
    async with bench.run():
        bench.host.start("a", "", [Call("slow", 1, trio.sleep_forever, 2), Call("slow", 2, five, 9)])
        await trio.sleep(1)
        bench.tell("a", CancelCall(2), Call("slow", 2, boom, 9), CancelCall(1), Call("slow", 1, five, 9), CancelCall(7))
        await trio.sleep(10)
        bench.tell("a", CancelCall(1))
    assert [type(message) for message in bench.behaviour.messages((Returned, Raised, TimedOut))] == [Raised, Returned]


async def test_a_delete_is_not_held_up_by_a_poll_that_hangs_and_can_cancel_it(
    bench: Any, autojump_clock: MockClock
) -> None:
    async with bench.run():
        bench.host.start("a", "", [Call("slow", "poll", trio.sleep_forever, 60)])
        await trio.sleep(1)
        bench.tell("a", CancelCall("poll"), Call("fast", "delete", five, 60))
        await wait_all_tasks_blocked()
        assert bench.behaviour.times(Returned) == [1]
        assert not bench.host.statistics().lanes["slow"].running


async def test_a_call_that_a_full_lane_refuses_comes_back_as_an_error(new_bench: Any) -> None:
    bench = new_bench(lanes=[Lane("tiny", 1, queue_limit=0)])
    async with bench.run():
        bench.host.start("a", "", [Call("tiny", 1, trio.sleep_forever, 9), Call("tiny", 2, five, 9)])
        (refused,) = bench.behaviour.messages()
        assert refused.tag == 2
        assert isinstance(refused.error, LaneFull)
        bench.tell("a", CancelCall(1))
        await wait_all_tasks_blocked()
        bench.tell("a", Call("tiny", 2, five, 9))
        await wait_all_tasks_blocked()
        assert bench.behaviour.messages(Returned) == [Returned(2, 5)]


async def test_a_refused_call_that_is_cancelled_in_the_same_step_is_not_heard_of(
    new_bench: Any, autojump_clock: MockClock
) -> None:
    bench = new_bench(lanes=[Lane("tiny", 1, queue_limit=0)])
    async with bench.run():
        bench.host.start("a", "", [Call("tiny", 1, trio.sleep_forever, 9), Call("tiny", 2, five, 9), CancelCall(2)])
        assert bench.behaviour.messages() == []
