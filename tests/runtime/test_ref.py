"""Talking to services: tell, send, ask, from before the start until after the end."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from flytower.runtime.errors import ActorDead, AskCycle, AskTimeout, MailboxFull, Refusal
from flytower.runtime.exits import ExitKind
from flytower.runtime.ref import Ref, Request
from flytower.runtime.service import Service
from flytower.runtime.spec import Restart, ServiceSpec
from flytower.runtime.supervisor import Supervisor
from flytower.runtime.system import open_system


@dataclass(frozen=True, slots=True)
class Wait(Request[str]):
    """Answered after some seconds."""

    seconds: float
    text: str = "done"


@dataclass(frozen=True)
class Fail(Request[str]):
    error: Exception


@dataclass(frozen=True)
class Forward(Request[str]):
    to: Ref[Forward]
    then: tuple[Ref[Forward], ...] = ()


Message = Wait | Fail | Forward


class Worker(Service[Message]):
    handled: list[object] = []  # noqa: RUF012 - replaced for each test

    async def handle(self, message: Message) -> object:
        self.handled.append(message)
        match message:
            case Wait(seconds, text):
                await trio.sleep(seconds)
                return text
            case Fail(error):
                raise error
            case Forward(to, ()):
                return await to.ask(Wait(0, "forwarded"))  # the last one takes Wait too
            case Forward(to, then):
                return await to.ask(Forward(then[0], then[1:]))


@pytest.fixture
def worker(autojump_clock: MockClock) -> ServiceSpec[Message]:
    Worker.handled = []
    return ServiceSpec("worker", Worker, mailbox=2)


async def test_an_ask_returns_what_the_handler_returned(
    worker: ServiceSpec[Message], autojump_clock: MockClock
) -> None:
    async with open_system([worker]):
        assert await worker.ref.ask(Wait(3, "hello")) == "hello"
        assert trio.current_time() == 3


async def test_a_ref_can_be_used_before_its_actor_starts(
    worker: ServiceSpec[Message], autojump_clock: MockClock
) -> None:
    promise = worker.ref.ask_nowait(Wait(0, "early"))
    worker.ref.tell(Wait(0, "told"))
    async with open_system([worker]):
        assert await promise.wait() == "early"
        await wait_all_tasks_blocked()
    assert [m.text for m in Worker.handled if isinstance(m, Wait)] == ["early", "told"]


async def test_what_is_told_to_a_full_mailbox_is_refused_at_once(
    worker: ServiceSpec[Message], autojump_clock: MockClock
) -> None:
    for _ in range(2):
        worker.ref.tell(Wait(0))
    assert worker.ref.pending == 2
    with pytest.raises(MailboxFull, match=r"the mailbox of worker is full \(2 messages\)"):
        worker.ref.tell(Wait(0))
    with pytest.raises(MailboxFull):
        await worker.ref.ask(Wait(0))
    with pytest.raises(MailboxFull):
        worker.ref.ask_nowait(Wait(0)).result()


async def test_a_control_message_is_taken_when_full_and_overtakes(
    worker: ServiceSpec[Message], autojump_clock: MockClock
) -> None:
    worker.ref.tell(Wait(0, "first"))
    worker.ref.tell(Wait(0, "second"))
    worker.ref.tell_control(Wait(0, "control"))
    async with open_system([worker]):
        await wait_all_tasks_blocked()
    assert [m.text for m in Worker.handled if isinstance(m, Wait)] == ["control", "first", "second"]


async def test_send_waits_for_room(worker: ServiceSpec[Message], autojump_clock: MockClock) -> None:
    async with open_system([worker]):
        for number in range(10):
            await worker.ref.send(Wait(1, str(number)))
        assert trio.current_time() >= 7  # two wait in the mailbox, one is in hand
        await trio.sleep(10)
    assert [m.text for m in Worker.handled if isinstance(m, Wait)] == [str(n) for n in range(10)]


async def test_asking_the_dead_fails_at_once_with_the_reason(
    worker: ServiceSpec[Message], autojump_clock: MockClock
) -> None:
    async with open_system([worker]):
        pass
    with pytest.raises(ActorDead, match="/node/worker cannot answer") as caught:
        await worker.ref.ask(Wait(0))
    assert caught.value.exit.kind is ExitKind.STOPPED
    assert caught.value.path == "/node/worker"
    with pytest.raises(ActorDead):
        worker.ref.ask_nowait(Wait(0)).result()


async def test_what_is_told_to_the_dead_is_a_dead_letter_and_no_error(
    worker: ServiceSpec[Message], autojump_clock: MockClock
) -> None:
    async with open_system([worker]) as system:
        pass
    worker.ref.tell(Wait(0))
    worker.ref.tell_control(Wait(0))
    await worker.ref.send(Wait(0))
    assert system.dead_letters.by_path == {"/node/worker": 3}


async def test_an_actor_that_ends_fails_the_asks_that_wait_for_it_and_buries_the_rest(
    autojump_clock: MockClock,
) -> None:
    spec = ServiceSpec("worker", Worker, Restart.TEMPORARY)
    async with open_system([spec]) as system, trio.open_nursery() as nursery:
        failures: list[ActorDead] = []

        async def asker(request: Wait | Fail) -> None:
            with pytest.raises(ActorDead) as caught:
                await spec.ref.ask(request)
            failures.append(caught.value)

        spec.ref.tell(Wait(0))
        for request in (Fail(ValueError("broken")), Wait(0)):
            nursery.start_soon(asker, request)
            await trio.lowlevel.checkpoint()
        spec.ref.tell(Wait(0, "left over"))
        await spec.ref.terminated()
        await wait_all_tasks_blocked()
        assert [str(failure.exit) for failure in failures] == ["crashed: ValueError: broken"] * 2
        assert system.dead_letters.total == 1


async def test_a_crash_fails_the_ask_in_hand_and_keeps_what_waits_for_the_next_incarnation(
    worker: ServiceSpec[Message], autojump_clock: MockClock
) -> None:
    async with open_system([worker]):
        broken = worker.ref.ask_nowait(Fail(ValueError("broken")))
        waiting = worker.ref.ask_nowait(Wait(0, "survived"))
        with pytest.raises(ActorDead, match="ValueError: broken"):
            await broken.wait()
        assert not waiting.done
        assert await waiting.wait() == "survived"


async def test_a_stop_fails_at_once_what_waits_while_the_message_in_hand_is_finished(
    worker: ServiceSpec[Message], autojump_clock: MockClock
) -> None:
    async with open_system([worker]) as system:
        in_hand = worker.ref.ask_nowait(Wait(3, "finished"))
        waiting = worker.ref.ask_nowait(Wait(0))
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(system.stop)
            await wait_all_tasks_blocked()
            assert worker.ref.ending
            with pytest.raises(ActorDead, match="stops it for good"):
                waiting.result()
            with pytest.raises(ActorDead):
                await worker.ref.ask(Wait(0))
            worker.ref.tell(Wait(0))
            assert await in_hand.wait() == "finished"
        assert system.dead_letters.total == 1
    assert len(Worker.handled) == 1


async def test_a_service_that_drains_handles_what_was_accepted_before_the_stop(autojump_clock: MockClock) -> None:
    spec = ServiceSpec("worker", Worker, drain=True)
    async with open_system([spec]) as system:
        promises = [spec.ref.ask_nowait(Wait(1, str(n))) for n in range(3)]
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(system.stop)
            await wait_all_tasks_blocked()
            with pytest.raises(ActorDead):
                await spec.ref.ask(Wait(0))
        assert [promise.result() for promise in promises] == ["0", "1", "2"]


async def test_draining_ends_with_the_grace(autojump_clock: MockClock) -> None:
    spec = ServiceSpec("worker", Worker, grace=2.5, drain=True)
    async with open_system([spec]) as system:
        promises = [spec.ref.ask_nowait(Wait(1, str(n))) for n in range(4)]
        await wait_all_tasks_blocked()
        await system.stop()
        assert [promise.result() for promise in promises[:2]] == ["0", "1"]
        for promise in promises[2:]:
            with pytest.raises(ActorDead):
                promise.result()


async def test_an_ask_gives_up_after_its_timeout_and_its_handler_is_skipped(
    worker: ServiceSpec[Message], autojump_clock: MockClock
) -> None:
    async with open_system([worker]):
        worker.ref.tell(Wait(10, "slow"))
        with pytest.raises(AskTimeout, match="/node/worker did not answer Wait within 2 s"):
            await worker.ref.ask(Wait(0, "too late"), timeout=2)
        await trio.sleep(10)
        assert await worker.ref.ask(Wait(0, "in time"), timeout=2) == "in time"
    assert [m.text for m in Worker.handled if isinstance(m, Wait)] == ["slow", "in time"]


async def test_cancelling_an_ask_withdraws_it_and_its_handler_is_skipped(
    worker: ServiceSpec[Message], autojump_clock: MockClock
) -> None:
    async with open_system([worker]):
        worker.ref.tell(Wait(10, "slow"))
        with trio.move_on_after(1) as scope:
            await worker.ref.ask(Wait(0, "withdrawn"))
        assert scope.cancelled_caught
        assert await worker.ref.ask(Wait(0, "kept")) == "kept"
    assert [m.text for m in Worker.handled if isinstance(m, Wait)] == ["slow", "kept"]


async def test_a_handler_whose_asker_gave_up_finishes_and_its_answer_is_dropped(
    worker: ServiceSpec[Message], autojump_clock: MockClock
) -> None:
    async with open_system([worker]):
        with pytest.raises(AskTimeout):
            await worker.ref.ask(Wait(10), timeout=1)
        assert await worker.ref.ask(Wait(0, "next")) == "next"
        assert trio.current_time() >= 10


async def test_a_refusal_is_the_answer_and_no_crash(worker: ServiceSpec[Message], autojump_clock: MockClock) -> None:
    async with open_system([worker]) as system:
        with pytest.raises(KeyError, match="not here"):
            await worker.ref.ask(Fail(Refusal(KeyError("not here"))))
        assert system.statistics().restarts == 0


async def test_a_refusal_out_of_a_nursery_of_the_handler_is_one_too(
    worker: ServiceSpec[Message], autojump_clock: MockClock
) -> None:
    async with open_system([worker]) as system:
        with pytest.raises(KeyError):
            await worker.ref.ask(Fail(ExceptionGroup("of a nursery", [Refusal(KeyError("not here"))])))
        with pytest.raises(ActorDead):
            await worker.ref.ask(Fail(ExceptionGroup("two", [Refusal(KeyError("not here")), ValueError("broken")])))
        assert await worker.ref.ask(Wait(0, "back")) == "back"
        assert system.statistics().restarts == 1


async def test_a_refusal_of_what_was_only_told_hurts_nobody(
    worker: ServiceSpec[Message], autojump_clock: MockClock
) -> None:
    async with open_system([worker]) as system:
        worker.ref.tell(Fail(Refusal(KeyError("not here"))))
        assert await worker.ref.ask(Wait(0)) == "done"
        assert system.statistics().restarts == 0


async def test_an_ask_that_comes_back_to_itself_raises_and_names_the_chain(autojump_clock: MockClock) -> None:
    a, b, c = (ServiceSpec(name, Worker, Restart.TEMPORARY) for name in "abc")
    async with open_system([a, b, c]):
        with pytest.raises(ActorDead) as caught:
            await a.ref.ask(Forward(b.ref, (c.ref, a.ref)))
        assert "/node/a -> /node/b -> /node/c -> /node/a" in str(caught.value)
        exit_ = await c.ref.terminated()
        assert isinstance(exit_.errors[0], AskCycle)
        assert exit_.errors[0].chain == ("/node/a", "/node/b", "/node/c", "/node/a")


async def test_an_actor_that_asks_itself_raises(worker: ServiceSpec[Message], autojump_clock: MockClock) -> None:
    async with open_system([worker]):
        with pytest.raises(ActorDead, match="AskCycle"):
            await worker.ref.ask(Forward(worker.ref))


async def test_two_asks_along_the_same_way_make_no_cycle(autojump_clock: MockClock) -> None:
    a, b = ServiceSpec("a", Worker), ServiceSpec("b", Worker)
    async with open_system([a, b]):
        for _ in range(2):
            assert await a.ref.ask(Forward(b.ref)) == "forwarded"
        assert await b.ref.ask(Forward(a.ref)) == "forwarded"


async def test_asking_nowait_never_raises_and_can_be_heard_by_callback(
    worker: ServiceSpec[Message], autojump_clock: MockClock
) -> None:
    async with open_system([worker]):
        heard: list[str] = []
        worker.ref.ask_nowait(Wait(5, "called back")).add_done_callback(lambda done: heard.append(done.result()))
        await trio.sleep(6)
        assert heard == ["called back"]


async def test_a_sender_that_waits_for_room_is_released_when_the_actor_ends(autojump_clock: MockClock) -> None:
    spec = ServiceSpec("worker", Worker, Restart.TEMPORARY, mailbox=1)
    async with open_system([spec]) as system:
        spec.ref.tell(Wait(1))
        await trio.lowlevel.checkpoint()
        async with trio.open_nursery() as nursery:
            await wait_all_tasks_blocked()
            for _ in range(3):
                nursery.start_soon(spec.ref.send, Wait(1))
            await wait_all_tasks_blocked()
            await system.root.stop_child("worker")
        assert system.dead_letters.total == 3


async def test_a_ref_lives_again_when_its_supervisor_is_restarted(autojump_clock: MockClock) -> None:
    spec = ServiceSpec("worker", Worker)
    inner = Supervisor([spec])
    async with open_system([inner.spec("inner")]) as system:
        await system.root.restart_child("inner")
        assert spec.ref.path == "/node/inner/worker"
        assert await spec.ref.ask(Wait(0, "alive")) == "alive"


def test_a_ref_tells_a_human_where_and_how_it_is() -> None:
    assert repr(ServiceSpec("worker", Worker).ref) == "<Ref worker open>"
