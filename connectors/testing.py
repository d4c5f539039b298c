"""A conformance suite for a connector: what the server relies on, tried against the real thing.

    async def test_my_connector() -> None:
        await check_connector(MyConnector(), TaskTemplate(type="my_task", custom=...))

It creates two jobs, and deletes them.
"""

from __future__ import annotations

import contextlib
import uuid
from typing import TYPE_CHECKING

import trio

from flytower.connectors.bound import Bound
from flytower.connectors.errors import ConnectorError, JobNotFound
from flytower.connectors.policy import Recovery
from flytower.connectors.resource import TERMINAL_PHASES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from flytower.connectors.base import AsyncConnectorBase
    from flytower.protocol.generated.flyteidl.admin import TaskExecutionMetadata
    from flytower.protocol.generated.flyteidl.core import LiteralMap, TaskTemplate

CHECK_SECONDS = 60.0
"""How long a deleted job may still be seen running."""


class ConformanceError(AssertionError):
    """The connector breaks a rule that the server relies on. The message says which."""


async def check_connector(
    connector: AsyncConnectorBase,
    task_template: TaskTemplate,
    *,
    output_prefix: str = "file:///tmp/flytower-conformance",
    inputs: LiteralMap | None = None,
    task_execution_metadata: TaskExecutionMetadata | None = None,
    seconds: float = CHECK_SECONDS,
) -> None:
    """Drive a connector through the life of a job, and through what a crash makes of it.

    Args:
        connector: The connector; its external system is at hand.
        task_template: A task for it that takes a while.
        output_prefix: Where the outputs would go.
        inputs: The task's inputs.
        task_execution_metadata: What Flyte says of the execution.
        seconds: How long a deleted job may still be seen running.

    Raises:
        ConformanceError: It breaks a rule.
        ConnectorContractError: It is not what the interface asks for.
    """
    bound = Bound(connector)

    async def create(key: str) -> bytes:
        return await bound.create(task_template, output_prefix, inputs, task_execution_metadata, key)

    key = uuid.uuid4().hex
    meta = await create(key)
    try:
        await _check_life(bound, meta, key, create)
        other = await create(uuid.uuid4().hex)
        _require(other != meta, "two keys must give two jobs")
        await _check_delete(bound, other, seconds)
    except BaseException:
        await _clean_up(bound, meta)
        raise
    await _check_delete(bound, meta, seconds)


async def _check_life(bound: Bound, meta: bytes, key: str, create: Callable[[str], Awaitable[bytes]]) -> None:
    _check_round_trip(bound, meta)
    await _check_get(bound, meta)
    if bound.policy.recovery is Recovery.TOKEN:
        _require(await create(key) == meta, "Recovery.TOKEN: the same idempotency_key must give the same metadata")
    if bound.policy.recovery is Recovery.FIND:
        _require(await bound.find(key) == meta, "Recovery.FIND: find(key) must give the metadata of create")
        _require(await bound.find(uuid.uuid4().hex) is None, "Recovery.FIND: find must give None for a key unheard of")


async def _clean_up(bound: Bound, meta: bytes) -> None:
    """Delete the job of a connector that failed, as far as it can; shielded, because a cancelled test has jobs, too."""
    with trio.move_on_after(bound.policy.delete_timeout, shield=True), contextlib.suppress(Exception):
        await bound.delete(meta)


def _check_round_trip(bound: Bound, meta: bytes) -> None:
    _require(bound.decode(meta).encode() == meta, "metadata must encode to the same bytes after it was decoded")


async def _check_get(bound: Bound, meta: bytes) -> None:
    try:
        await bound.get(meta)
    except JobNotFound:
        pass  # right after create, a system that reads its own writes late may say so
    except ConnectorError as error:
        raise ConformanceError(f"get must answer for a job that was just created: {error}") from error


async def _check_delete(bound: Bound, meta: bytes, seconds: float) -> None:
    for attempt in ("first", "second"):
        try:
            await bound.delete(meta)
        except JobNotFound:
            pass
        except Exception as error:
            raise ConformanceError(f"delete must be idempotent; the {attempt} call raised {error!r}") from error
    with trio.move_on_after(seconds):
        while not await _is_over(bound, meta):  # noqa: ASYNC110 - the external system tells nothing unasked
            await trio.sleep(bound.policy.poll_minimum)
        return
    raise ConformanceError(f"a deleted job must end: it was running for {seconds:g} s more")


async def _is_over(bound: Bound, meta: bytes) -> bool:
    try:
        return (await bound.get(meta)).phase in TERMINAL_PHASES
    except JobNotFound:
        return True


def _require(holds: bool, rule: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not holds:
        raise ConformanceError(rule)
