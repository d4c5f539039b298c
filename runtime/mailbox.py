"""The queue in front of a service: a bounded lane for messages, and a control lane that overtakes it.

A mailbox belongs to an address, not to an incarnation: what is queued while the service restarts is not lost.
Nothing here awaits unless it must: a message that is there is taken, and one that fits is put, without a task switch.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import trio

if TYPE_CHECKING:
    from flytower.runtime.address import Address
    from flytower.runtime.promise import Promise

# A resident service answers some ten thousand messages a second: this is a tenth of a second of delay, and less than
# a megabyte. Whoever can wait uses `send`; whoever cannot is refused at once.
DEFAULT_BOUND = 1024


class Envelope(NamedTuple):
    """A message on its way.

    Args:
        message: What was sent.
        promise: Where the answer goes; None for a tell.
        chain: The actors that wait for this answer, first asker first.
    """

    message: object
    promise: Promise[Any] | None = None
    chain: tuple[Address, ...] = ()


class Mailbox:
    """Two lanes and one reader.

    The control lane has no bound: it carries what supervisors, monitors and operators send, of which there is little,
    and which must not be refused because others send too much.
    """

    __slots__ = ("_control", "_poked", "_reader", "_senders", "_user", "bound")

    def __init__(self, bound: int = DEFAULT_BOUND) -> None:
        if bound < 1:
            raise ValueError(f"a mailbox needs room for at least one message, not {bound}")
        self.bound = bound
        # Deques are made when they are needed: an empty one takes 790 bytes.
        self._user: deque[Envelope] | None = None  # never longer than `bound`
        self._control: deque[Envelope] | None = None
        self._senders: deque[tuple[Envelope, trio.lowlevel.Task]] | None = None  # waiting for room: _user is full then
        self._reader: trio.lowlevel.Task | None = None  # set while it waits: both lanes are empty then
        self._poked = False

    def __len__(self) -> int:
        return len(self._user or ()) + len(self._control or ()) + len(self._senders or ())

    @property
    def full(self) -> bool:
        """Whether the bounded lane has no room."""
        return self._user is not None and len(self._user) >= self.bound

    def put(self, envelope: Envelope) -> bool:
        """Queue a message, or return False when there is no room."""
        if self.full:
            return False
        if self._user is None:
            self._user = deque()
        self._user.append(envelope)
        self._wake()
        return True

    def put_control(self, envelope: Envelope) -> None:
        """Queue a message ahead of all that are not control messages."""
        if self._control is None:
            self._control = deque()
        self._control.append(envelope)
        self._wake()

    async def send(self, envelope: Envelope) -> None:
        """Queue a message, waiting for room; first come, first served. Cancelled, it was not queued."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self.put(envelope):
            return
        if self._senders is None:
            self._senders = deque()
        entry = (envelope, trio.lowlevel.current_task())
        self._senders.append(entry)

        def abort_fn(_: object) -> trio.lowlevel.Abort:
            assert self._senders is not None  # noqa: S101 - it was made above, and entries leave it only when served
            self._senders.remove(entry)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort_fn)

    def get_nowait(self) -> Envelope | None:
        """Take the next message, control first; None when there is none."""
        if self._control:
            return self._control.popleft()
        if not self._user:
            return None
        envelope = self._user.popleft()
        if self._senders:  # the room goes to who waited longest, before anyone else can take it
            waiting, task = self._senders.popleft()
            self._user.append(waiting)
            trio.lowlevel.reschedule(task)
        return envelope

    async def wait(self) -> None:
        """Wait until there is a message, or until somebody pokes. For the one reader."""
        if self._control or self._user or self._poked:
            self._poked = False
            return
        if self._reader is not None:
            raise RuntimeError("two tasks read one mailbox; give each service a spec of its own")

        def abort_fn(_: object) -> trio.lowlevel.Abort:
            self._reader = None
            return trio.lowlevel.Abort.SUCCEEDED

        self._reader = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(abort_fn)
        self._poked = False

    def poke(self) -> None:
        """Let the reader look up, now or when it next waits, though there may be no message."""
        self._poked = True
        self._wake()

    def empty(self) -> list[Envelope]:
        """Take out all that is queued, and what waits for room; the senders go on as if it had been taken."""
        left = [*(self._control or ()), *(self._user or ()), *(envelope for envelope, _ in self._senders or ())]
        for _, task in self._senders or ():
            trio.lowlevel.reschedule(task)
        self._control = self._user = self._senders = None
        return left

    def _wake(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            trio.lowlevel.reschedule(reader)
