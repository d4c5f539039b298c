"""asyncio as it was, wherever no loop of trio_asyncio runs.

Importing trio_asyncio makes `asyncio.run` and `asyncio.new_event_loop` of the whole process, in every thread, use loops
of its kind, and forbids both within `trio.run`. A server does not notice. A program that imports Flytower to run a task
locally does: its own loops would be others, and flytekit, which keeps a loop in a thread, would hang on those.

Where one of its loops does run, it forbids a coroutine to make a loop, and to set the policy. Both are harmless: the
loop is run in a thread, and the policy is that of loops that are made later. asyncio allows both, and so does this.
"""

from __future__ import annotations

import asyncio
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

INTERNALS = (
    "_faked_policy",
    "_in_trio_context",
    "_in_trio_context_other_than_sync_loop",
    "current_loop",
    "_TrioPolicy",
)
"""What is used of trio_asyncio's module `_loop`."""


def import_trio_asyncio() -> None:
    """Import trio_asyncio, and leave asyncio alone where none of its loops runs.

    Raises:
        ImportError: trio_asyncio has changed inside. Its supported versions are in pyproject.toml.
    """
    before = asyncio.get_event_loop_policy()
    with warnings.catch_warnings():  # it subclasses what Python 3.12 has deprecated and 3.14 has removed
        warnings.filterwarnings("ignore", message="'AbstractChildWatcher'", category=DeprecationWarning)
        from trio_asyncio import _loop as internals  # noqa: PLC0415 - what was before had to be asked first
    if missing := [name for name in INTERNALS if not hasattr(internals, name)]:
        raise ImportError(
            f"trio_asyncio has changed inside, it lacks {', '.join(missing)}; install a supported version"
        )
    _leave_policy_alone(internals, before)
    _leave_trio_alone(internals)
    _let_loops_be_made(internals)
    _let_policy_be_set(internals)


def _leave_policy_alone(internals: ModuleType, before: asyncio.AbstractEventLoopPolicy) -> None:
    """Make the policy that was in force the one of every thread: a thread's own is looked up before the class's."""
    kept = type(internals._faked_policy)  # noqa: SLF001 - see the module's docstring
    if kept.policy is None:
        kept.policy = before


def _leave_trio_alone(internals: ModuleType) -> None:
    """Have trio_asyncio feel responsible only inside a trio task that has a loop of its kind around it."""
    in_trio, in_trio_proper = internals._in_trio_context, internals._in_trio_context_other_than_sync_loop  # noqa: SLF001

    def has_loop() -> bool:
        import trio  # noqa: PLC0415 - trio_asyncio has imported it by now

        return trio.lowlevel.current_task().context.get(internals.current_loop) is not None

    internals._in_trio_context = lambda: in_trio() and has_loop()  # type: ignore[attr-defined]  # noqa: SLF001
    internals._in_trio_context_other_than_sync_loop = lambda: in_trio_proper() and has_loop()  # type: ignore[attr-defined]  # noqa: SLF001


def _let_loops_be_made(internals: ModuleType) -> None:
    """Have new loops come from the policy of the thread, in a coroutine too."""

    def new_event_loop(_: object) -> asyncio.AbstractEventLoop:
        policy: asyncio.AbstractEventLoopPolicy = internals._faked_policy.policy  # noqa: SLF001 - see above
        return policy.new_event_loop()

    internals._TrioPolicy.new_event_loop = new_event_loop  # noqa: SLF001 - likewise


def _let_policy_be_set(internals: ModuleType) -> None:
    """Have a thread's policy set wherever that is asked for; what a coroutine has found as the policy puts it back."""
    own = internals._faked_policy  # noqa: SLF001 - see above

    def set_event_loop_policy(policy: asyncio.AbstractEventLoopPolicy | None) -> None:
        if policy is None or isinstance(policy, internals._TrioPolicy):  # noqa: SLF001 - likewise
            vars(own).pop("policy", None)
        elif isinstance(policy, asyncio.AbstractEventLoopPolicy):
            own.policy = policy
        else:
            kind = type(policy).__name__
            raise TypeError(f"policy must be an instance of AbstractEventLoopPolicy or None, not {kind!r}")

    asyncio.set_event_loop_policy = asyncio.events.set_event_loop_policy = set_event_loop_policy
