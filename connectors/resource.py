"""The state and the results of an external job, as a connector reports them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from flytower.connectors.errors import InvalidResource
from flytower.protocol.codec import dict_to_struct
from flytower.protocol.encode import encoded, field_encoder
from flytower.protocol.generated.flyteidl import admin
from flytower.protocol.generated.flyteidl.core import LiteralMap, TaskExecutionPhase, TaskLog

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MESSAGE_LIMIT = 8_000
"""Characters of a message. Flyte copies it into the workflow's state in etcd; a whole log does not belong there."""


class TaskExecution:
    """The phases of a task, by the names that Flyte's own API has: `TaskExecution.SUCCEEDED`."""

    Phase: TypeAlias = TaskExecutionPhase

    UNDEFINED = TaskExecutionPhase.UNDEFINED
    QUEUED = TaskExecutionPhase.QUEUED
    RUNNING = TaskExecutionPhase.RUNNING
    SUCCEEDED = TaskExecutionPhase.SUCCEEDED
    ABORTED = TaskExecutionPhase.ABORTED
    FAILED = TaskExecutionPhase.FAILED
    INITIALIZING = TaskExecutionPhase.INITIALIZING
    WAITING_FOR_RESOURCES = TaskExecutionPhase.WAITING_FOR_RESOURCES
    RETRYABLE_FAILED = TaskExecutionPhase.RETRYABLE_FAILED


TERMINAL_PHASES = frozenset(
    {TaskExecution.SUCCEEDED, TaskExecution.ABORTED, TaskExecution.FAILED, TaskExecution.RETRYABLE_FAILED}
)

_put_message = field_encoder(admin.Resource, "message")
_put_log_links = field_encoder(admin.Resource, "log_links")
_put_phase = field_encoder(admin.Resource, "phase")

_SHOWABLE_PHASES = frozenset(TaskExecutionPhase) - {TaskExecution.UNDEFINED}


def _encoded_phase(phase: TaskExecutionPhase) -> bytes:
    out = bytearray()
    _put_phase(out, phase)
    return bytes(out)


_ENCODED_PHASES = {phase: (phase, _encoded_phase(phase)) for phase in _SHOWABLE_PHASES}
"""For each phase that may be shown, and whatever equals it: the phase, and how a Resource ends that is in it."""


def is_terminal(phase: TaskExecutionPhase) -> bool:
    """Say whether a task in this phase is over."""
    return phase in TERMINAL_PHASES


@dataclass
class Resource:
    """What `get` and `do` return.

    Args:
        phase: Where the job stands. Never UNDEFINED, which Flyte takes for a failure.
        message: One sentence for the user. Flyte shows it for failures and for jobs that wait, not while RUNNING.
        log_links: Where the logs are. Flyte keeps those of the first answer in each phase, so always give them.
        outputs: The results, as Flyte literals or as a dictionary of Python values, which is converted. None means
            that the job writes them to the output prefix itself; {} means that there are none.
        custom_info: Anything else worth showing, JSON-like.
    """

    phase: TaskExecutionPhase
    message: str | None = None
    log_links: Sequence[TaskLog] | None = ()
    outputs: LiteralMap | Mapping[str, Any] | None = None
    custom_info: Mapping[str, Any] | None = None

    def to_message(self) -> admin.Resource:
        """Return the message that goes to Flyte.

        Raises:
            InvalidResource: The phase is UNDEFINED or unknown, or the outputs or the custom info cannot be converted.
        """
        message = admin.Resource(
            phase=(_ENCODED_PHASES.get(self.phase) or self._refuse_phase())[0],
            message=_shortened(self.message or ""),
            log_links=list(self.log_links or ()),
        )
        try:
            if self.outputs is not None:
                message.outputs = _to_literals(self.outputs)
            if self.custom_info:
                message.custom_info = dict_to_struct(dict(self.custom_info), "custom_info")
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidResource(f"outputs or custom_info cannot be converted for Flyte: {error}") from error
        return message

    def encode(self) -> tuple[TaskExecutionPhase, bytes]:
        """Return the phase, and the encoding of `to_message()`; without making that where there are no values in it.

        Raises:
            InvalidResource: As `to_message`.
        """
        phase, end = _ENCODED_PHASES.get(self.phase) or self._refuse_phase()
        if self.outputs is not None or self.custom_info:
            return phase, encoded(self.to_message())
        out = bytearray()
        if self.message:
            _put_message(out, _shortened(self.message))
        if self.log_links:
            _put_log_links(out, self.log_links)
        out += end
        return phase, bytes(out)

    def _refuse_phase(self) -> NoReturn:
        raise InvalidResource(
            f"phase {self.phase!r} may not be shown to Flyte; use one of TaskExecution's but UNDEFINED"
        )


def check_message(message: admin.Resource) -> admin.Resource:
    """Return a message that a connector has made itself, if it may be shown to Flyte.

    Raises:
        InvalidResource: Its phase is UNDEFINED or unknown.
    """
    if message.phase not in _SHOWABLE_PHASES:
        raise InvalidResource(f"phase {message.phase!r} may not be shown to Flyte")
    return message


def _to_literals(outputs: LiteralMap | Mapping[str, Any]) -> LiteralMap:
    if isinstance(outputs, LiteralMap):
        return outputs
    from flytower.protocol.literals import to_literal_map  # noqa: PLC0415 - no start has outputs to convert

    return to_literal_map(dict(outputs))


def _shortened(text: str) -> str:
    if len(text) <= MESSAGE_LIMIT:
        return text
    return f"{text[:MESSAGE_LIMIT]}... ({len(text) - MESSAGE_LIMIT} more characters)"
