"""The errors that the life cycle answers with: status, and one sentence that says what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flytower.protocol.status import RpcError, Status

if TYPE_CHECKING:
    from flytower.actors.task import Task
    from flytower.connectors.category import TaskCategory


def different_parameters(task: Task) -> RpcError:
    """Refuse a CreateTask whose key belongs to a task with other inputs or another template."""
    return RpcError(
        Status.FAILED_PRECONDITION,
        f"A {task.category.name} task with this output prefix exists with other parameters; "
        f"delete it first, or use another output prefix.",
    )


def create_failed(task: Task, text: str) -> RpcError:
    """Report that the connector's create raised: there is no job."""
    return RpcError(Status.INTERNAL, f"failed to create {task.category.name} task with error:\n {text}.")


def invalid(task: Task, text: str) -> RpcError:
    """Report that the connector cannot do what the task asks for."""
    return RpcError(Status.INVALID_ARGUMENT, f"This is no {task.category.name} task: {text}.")


def overloaded(task: Task) -> RpcError:
    """Refuse a create for which there is no worker: it was not begun."""
    return RpcError(
        Status.RESOURCE_EXHAUSTED, f"Too many {task.category.name} jobs are being created; try again later."
    )


def spared(task: Task, text: str) -> RpcError:
    """Refuse a create that the external system does not want yet: it was not begun."""
    return RpcError(
        Status.RESOURCE_EXHAUSTED, f"No {task.category.name} job can be created now: {text}. Try again then."
    )


def deleted_meanwhile(task: Task) -> RpcError:
    """Answer a CreateTask whose task was deleted before its job was there."""
    return RpcError(Status.ABORTED, f"The {task.category.name} task was deleted before it was created.")


def ledger_unavailable(category: TaskCategory, reason: str) -> RpcError:
    """Refuse what cannot be written down."""
    return RpcError(
        Status.UNAVAILABLE, f"The ledger cannot record this {category.name} task: {reason}. Try again later."
    )
