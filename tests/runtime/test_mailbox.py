from __future__ import annotations

from collections import deque
from typing import Any

import pytest
import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from trio.testing import wait_all_tasks_blocked

from flytower.runtime.mailbox import Envelope, Mailbox
from flytower.runtime.testing import Driver, run_virtual


def texts(envelopes: list[Envelope]) -> list[object]:
    return [envelope.message for envelope in envelopes]


async def test_messages_come_out_in_the_order_in_which_they_went_in() -> None:
    mailbox = Mailbox()
    for number in range(5):
        assert mailbox.put(Envelope(number))
    assert texts([mailbox.get_nowait() or Envelope(None) for _ in range(5)]) == [0, 1, 2, 3, 4]
    assert mailbox.get_nowait() is None


async def test_a_full_mailbox_refuses_at_once_but_never_a_control_message() -> None:
    mailbox = Mailbox(bound=1)
    assert mailbox.put(Envelope("first"))
    assert not mailbox.put(Envelope("second"))
    mailbox.put_control(Envelope("control"))
    assert len(mailbox) == 2


async def test_control_messages_overtake_all_others() -> None:
    mailbox = Mailbox()
    mailbox.put(Envelope("user"))
    mailbox.put_control(Envelope("control 1"))
    mailbox.put_control(Envelope("control 2"))
    assert texts(mailbox.empty()) == ["control 1", "control 2", "user"]


def test_an_unused_mailbox_holds_no_queue() -> None:
    mailbox = Mailbox()
    assert (mailbox._user, mailbox._control, mailbox._senders) == (None, None, None)
    assert len(mailbox) == 0


def test_a_mailbox_without_room_for_one_message_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one message"):
        Mailbox(bound=0)


async def test_a_message_that_is_there_is_waited_for_without_a_task_switch() -> None:
    mailbox = Mailbox()
    mailbox.put(Envelope("there"))
    with trio.testing.assert_no_checkpoints():
        await mailbox.wait()


async def test_a_sender_that_finds_room_needs_no_task_switch() -> None:
    mailbox, switched = Mailbox(), False

    async def other() -> None:
        nonlocal switched
        switched = True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await mailbox.send(Envelope("fits"))
        assert not switched


async def test_a_cancelled_sender_does_not_send_even_when_there_is_room() -> None:
    mailbox = Mailbox()
    with trio.CancelScope() as scope:
        scope.cancel()
        await mailbox.send(Envelope("never"))
    assert len(mailbox) == 0


async def test_room_goes_to_the_sender_that_waited_longest_and_to_nobody_who_comes_later() -> None:
    mailbox = Mailbox(bound=1)
    mailbox.put(Envelope("first"))
    async with trio.open_nursery() as nursery:
        for name in ("second", "third"):
            nursery.start_soon(mailbox.send, Envelope(name))
            await wait_all_tasks_blocked()
        assert mailbox.get_nowait() == Envelope("first")
        assert not mailbox.put(Envelope("pushy"))
        assert mailbox.get_nowait() == Envelope("second")
        assert mailbox.get_nowait() == Envelope("third")


async def test_the_reader_sleeps_until_a_message_or_a_poke_comes(autojump_clock: trio.testing.MockClock) -> None:
    mailbox, woken = Mailbox(), []

    async def reader() -> None:
        for _ in range(3):
            await mailbox.wait()
            woken.append((trio.current_time(), mailbox.get_nowait()))

    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader)
        for put in (mailbox.put, mailbox.put_control, lambda _: mailbox.poke()):
            await trio.sleep(1)
            put(Envelope("wake up"))
    assert woken == [
        (start + 1, Envelope("wake up")),
        (start + 2, Envelope("wake up")),
        (start + 3, None),
    ]


async def test_a_poke_that_comes_first_is_not_lost_and_is_spent_by_one_wait() -> None:
    mailbox = Mailbox()
    mailbox.poke()
    with trio.testing.assert_no_checkpoints():
        await mailbox.wait()
    with trio.move_on_after(0) as scope:
        await mailbox.wait()
    assert scope.cancelled_caught


async def test_two_readers_of_one_mailbox_are_a_mistake() -> None:
    mailbox = Mailbox()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.wait)
        await wait_all_tasks_blocked()
        with pytest.raises(RuntimeError, match="two tasks read one mailbox"):
            await mailbox.wait()
        nursery.cancel_scope.cancel()
    mailbox.put(Envelope("still usable"))
    await mailbox.wait()


async def test_emptying_releases_the_senders_and_hands_out_all_in_order() -> None:
    mailbox = Mailbox(bound=1)
    mailbox.put(Envelope("first"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.send, Envelope("second"))
        await wait_all_tasks_blocked()
        mailbox.put_control(Envelope("control"))
        assert texts(mailbox.empty()) == ["control", "first", "second"]
    assert len(mailbox) == 0


class MailboxModel(RuleBasedStateMachine):
    """Against two plain queues: senders that wait are a third, which fills the second."""

    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver()
        self.mailbox = Mailbox(bound=2)
        self.control: deque[int] = deque()
        self.user: deque[int] = deque()
        self.senders: deque[tuple[int, trio.CancelScope]] = deque()
        self.next = 0

    def number(self) -> int:
        self.next += 1
        return self.next

    @rule()
    def put(self) -> None:
        number = self.number()
        assert self.mailbox.put(Envelope(number)) is (len(self.user) < 2)
        if len(self.user) < 2:
            self.user.append(number)

    @rule()
    def put_control(self) -> None:
        number = self.number()
        self.mailbox.put_control(Envelope(number))
        self.control.append(number)

    @rule()
    def send(self) -> None:
        number, scope = self.number(), trio.CancelScope()

        async def sender() -> None:
            with scope:
                await self.mailbox.send(Envelope(number))

        self.driver.nursery.start_soon(sender)
        self.driver.settle()
        if len(self.user) < 2:
            self.user.append(number)
        else:
            self.senders.append((number, scope))

    @precondition(lambda self: self.senders)
    @rule(data=st.data())
    def give_up_sending(self, data: st.DataObject) -> None:
        entry = data.draw(st.sampled_from(list(self.senders)))
        self.senders.remove(entry)
        entry[1].cancel()
        self.driver.settle()

    @rule()
    def get(self) -> None:
        async def get() -> Any:
            envelope = self.mailbox.get_nowait()
            return envelope.message if envelope else None

        expected: int | None = None
        if self.control:
            expected = self.control.popleft()
        elif self.user:
            expected = self.user.popleft()
            if self.senders:
                self.user.append(self.senders.popleft()[0])
        assert self.driver.do(get) == expected
        self.driver.settle()

    @rule()
    def empty(self) -> None:
        async def empty() -> list[Envelope]:
            return self.mailbox.empty()

        left = [*self.control, *self.user, *(number for number, _ in self.senders)]
        assert texts(self.driver.do(empty)) == left
        for queue in (self.control, self.user, self.senders):
            queue.clear()
        self.driver.settle()

    @invariant()
    def counts_all_that_waits(self) -> None:
        assert len(self.mailbox) == len(self.control) + len(self.user) + len(self.senders)
        assert self.mailbox.full is (len(self.user) == 2)
        assert not self.senders or len(self.user) == 2

    def teardown(self) -> None:
        self.driver.close()


TestMailboxModel = MailboxModel.TestCase
TestMailboxModel.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def test_a_burst_through_a_mailbox_needs_one_switch() -> None:
    """A reader that is woken for the first of many messages takes all of them in one go."""

    async def main() -> int:
        mailbox, wakes, got = Mailbox(), 0, 0
        async with trio.open_nursery() as nursery:

            async def reader() -> None:
                nonlocal wakes, got
                while got < 100:
                    await mailbox.wait()
                    wakes += 1
                    while mailbox.get_nowait() is not None:
                        got += 1

            nursery.start_soon(reader)
            await wait_all_tasks_blocked()
            for number in range(100):
                mailbox.put(Envelope(number))
        return wakes

    assert run_virtual(main) == 1
