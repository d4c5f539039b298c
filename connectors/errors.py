"""What can go wrong with a connector, and whose fault it is.

An author raises `JobNotFound`, `RetryLater`, `OutcomeUnknown` and `PermanentFailure`; the server raises the others
about a connector.
"""

# ruff: noqa: N818 - authors write these names, and FlyteConnectorNotFound is flytekit's: they say what happened

from __future__ import annotations

import math


class ConnectorError(Exception):
    """Something went wrong with a connector. The base of all errors here."""


# ---- what an author raises ------------------------------------------------------------------------------------


class JobNotFound(ConnectorError):
    """The external system does not know the job (HTTP 404 or 410). For a delete this is success."""


class RetryLater(ConnectorError):
    """The external system asks for time (HTTP 429 or 503 with Retry-After).

    Args:
        message: What it said.
        after: Seconds before it is asked again; nothing is asked sooner.

    Raises:
        ValueError: `after` is negative or not finite.
    """

    def __init__(self, message: str = "the external system asks to come back later", *, after: float) -> None:
        if not (math.isfinite(after) and after >= 0):
            raise ValueError(f"RetryLater(after={after!r}): it must be a finite number of seconds, 0 or more")
        super().__init__(message)
        self.after = float(after)


class OutcomeUnknown(ConnectorError):
    """The external system may have done what it was asked, or not: its answer was lost.

    Raised by a `create` whose connection broke after the request had left, it keeps a job from being lost: the create
    is repeated with its token, or the job is looked for, as the connector's `recovery` says. Errors of the usual HTTP
    clients that mean this are recognised without it.
    """


class PermanentFailure(ConnectorError):
    """No retry helps: the job is refused, its parameters are wrong, the credentials are not accepted."""


class InvalidRequest(PermanentFailure, ValueError):
    """The caller asked for something that cannot be: a task without a command, a log token that nobody gave."""


# ---- what the server raises about a connector -----------------------------------------------------------------


class FlyteConnectorNotFound(ConnectorError):
    """No connector is registered for a task category, or under a name. The caller's fault."""


class ConnectorMethodNotImplemented(ConnectorError, NotImplementedError):
    """The connector has no such method (get_metrics, get_logs, find). Not an error of the job."""


class ConnectorContractError(ConnectorError, TypeError):
    """A connector is not what the interface asks for: a method is missing, or returns the wrong thing.

    Its author's fault.
    """


class ConnectorExited(ConnectorError):
    """User code tried to end more than itself: it raised SystemExit, KeyboardInterrupt or another BaseException."""


class WrongFlavour(ConnectorError):
    """A coroutine awaits another event loop than its connector declares, or than runs here. Its author's fault."""


class ResourceMetaError(ConnectorError, ValueError):
    """Bytes are no metadata of this connector, or an object is none that can be encoded."""


class InvalidResource(ConnectorError, ValueError):
    """A connector answered with a Resource that may not be shown to Flyte. Its author's fault."""


class PolicyError(ConnectorError, ValueError):
    """A field of a policy has a value that it may not have."""
