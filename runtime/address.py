"""An actor's place in the tree. It outlives the incarnations, and is known before the first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from flytower.runtime.dead_letters import DeadLetters
from flytower.runtime.errors import NameTaken
from flytower.runtime.monitor import Down, Listener, Monitor, Monitors

if TYPE_CHECKING:
    from collections.abc import Callable

    from flytower.runtime.exits import Exit


class Address:
    """Where one actor is, was, or will be.

    It is *open* from the beginning, so that others can be given it before the actor starts, and stays so while the
    actor is restarted. It is *ending* while its supervisor stops it for good, and *closed* when it has ended for good;
    `exit` then says why. When the supervisor above is itself restarted, or the spec is started again, it opens anew.

    Args:
        name: What the actor is called among its siblings.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = name  # the whole path once a supervisor has taken it
        self.exit: Exit | None = None  # set while closed
        self._ending: Exit | None = None  # set while ending or closed
        self._attached = False  # whether a supervisor has it: one at most
        self._dead_letters = DeadLetters()
        self._monitors = Monitors()

    @property
    def pending(self) -> int:
        """How many messages wait for the actor."""
        return 0

    def monitor(self, listener: Callable[[Down], object] | Listener) -> Monitor:
        """Have `listener` told once when the actor ends for good; at once when it has ended already.

        Args:
            listener: A function that takes a `Down`, called synchronously, so it must be short; or a ref whose
                messages include `Down`, which gets it in its control lane.
        """
        monitor = self._monitors.add(listener)
        if self.exit is not None:
            self._monitors.tell(Down(self.path, self.exit))
        return monitor

    async def terminated(self) -> Exit:
        """Wait until the actor has ended for good, and return how."""
        if self.exit is not None:
            await trio.lowlevel.checkpoint()
            return self.exit
        ends: list[Exit] = []
        over = trio.Event()

        def tell(news: Down) -> None:
            ends.append(news.exit)
            over.set()

        monitor = self.monitor(tell)
        try:
            await over.wait()
        finally:
            monitor.cancel()
        return ends[0]

    # ---- for the supervisor that has it -----------------------------------------------------------------------

    def attach(self, path: str, dead_letters: DeadLetters) -> None:
        """Take the address for a child, and open it.

        Raises:
            NameTaken: A supervisor has it already.
        """
        if self._attached:
            raise NameTaken(f"the spec of {path} already runs as {self.path}; make a spec for each child")
        self._attached = True
        self.path = path
        self.exit = self._ending = None
        self._dead_letters = dead_letters

    def seal(self, exit: Exit) -> None:  # noqa: A002 - OTP's word for it
        """Begin to end for good: nothing more is accepted."""
        self._ending = exit

    def close(self, exit: Exit) -> None:  # noqa: A002 - OTP's word for it
        """End for good: tell the monitors, and let go of the address."""
        self._attached = False
        self.exit = self._ending = exit
        self._monitors.tell(Down(self.path, exit))

    def __repr__(self) -> str:
        state = "open" if self._ending is None else "ending" if self.exit is None else str(self.exit)
        return f"<{type(self).__name__} {self.path} {state}>"
