"""The actor kernel on trio: services, entities, supervisors. Knows nothing of Flyte, gRPC or connectors.

`open_system` runs a tree of actors. A **service** is resident: one task, a mailbox, async handlers. An **entity** is a
record with a pure transition, until something happens to it; an `EntityHost` runs thousands. A **supervisor** starts
children in order, restarts those that fail, and stops all in reverse. When the system's block ends, nothing of it runs.
"""

from __future__ import annotations

from flytower.runtime.address import Address
from flytower.runtime.backoff import Backoff
from flytower.runtime.context import Child, Context
from flytower.runtime.dead_letters import DeadLetter, DeadLetters
from flytower.runtime.entity import (
    Behaviour,
    Call,
    CancelCall,
    End,
    Raised,
    Refuse,
    Reply,
    Returned,
    Sleep,
    Stopping,
    TimedOut,
    Wake,
    Woke,
)
from flytower.runtime.errors import (
    ActorDead,
    ActorError,
    AskCycle,
    AskTimeout,
    MailboxFull,
    NameTaken,
    Refusal,
    RestartIntensityExceeded,
    StartTimeout,
    StrayCancellation,
    SystemFailed,
    UnknownActor,
)
from flytower.runtime.exits import Exit, ExitKind
from flytower.runtime.host import EntityHost
from flytower.runtime.intensity import Intensity
from flytower.runtime.lanes import Lane
from flytower.runtime.monitor import Down, Monitor
from flytower.runtime.names import Names
from flytower.runtime.promise import Promise
from flytower.runtime.ref import Ref, Request
from flytower.runtime.service import Service
from flytower.runtime.spec import ChildSpec, Restart, ServiceSpec
from flytower.runtime.strategy import Strategy
from flytower.runtime.supervisor import Supervisor
from flytower.runtime.system import Statistics, System, open_system
from flytower.runtime.timers import Timers
from flytower.runtime.tree import Node, render

__all__ = [  # noqa: RUF022 - in the order in which one needs them
    # what runs
    "Behaviour",
    "Child",
    "Context",
    "EntityHost",
    "Lane",
    "Service",
    "Supervisor",
    "System",
    "Timers",
    "open_system",
    # how to run it
    "Backoff",
    "ChildSpec",
    "Intensity",
    "Restart",
    "ServiceSpec",
    "Strategy",
    # how to talk to it
    "Address",
    "Monitor",
    "Names",
    "Promise",
    "Ref",
    "Request",
    # effects of entities
    "Call",
    "CancelCall",
    "End",
    "Refuse",
    "Reply",
    "Sleep",
    "Wake",
    # what entities hear
    "Raised",
    "Returned",
    "Stopping",
    "TimedOut",
    "Woke",
    # what one learns of it
    "DeadLetter",
    "DeadLetters",
    "Down",
    "Exit",
    "ExitKind",
    "Node",
    "Statistics",
    "render",
    # what goes wrong
    "ActorDead",
    "ActorError",
    "AskCycle",
    "AskTimeout",
    "MailboxFull",
    "NameTaken",
    "Refusal",
    "RestartIntensityExceeded",
    "StartTimeout",
    "StrayCancellation",
    "SystemFailed",
    "UnknownActor",
]
