"""A node, its external systems and its callers as a state machine sees them, with a record of all that was said.

Everything here is synchronous: the driver lets the trio run go on only inside a method, on its virtual clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import trio

from flytower.actors.events import Created, Gone
from flytower.actors.identity import decode_reference_untrusted
from flytower.connectors.errors import RetryLater
from flytower.connectors.policy import Policy
from flytower.protocol.generated.flyteidl import admin
from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase
from flytower.protocol.status import RpcError, Status
from flytower.runtime.testing import Driver, running_tasks
from tests.actors.census import recount
from tests.actors.external_system import Condition, ExternalSystem, Weather
from tests.actors.live.client import Client, FlakyStore, running
from tests.actors.live.connectors import FindConnector, JobMeta, NeitherConnector, TokenConnector

if TYPE_CHECKING:
    from collections.abc import Callable

POLICY = Policy(create_timeout=20.0, retention=1e8, failure_age=None, hibernate_after=1800.0)
"""Nothing is forgotten, and no job is given up: these have tests of their own, and would blur what must hold here."""

CONNECTORS = {"token": TokenConnector, "find": FindConnector, "neither": NeitherConnector}
KINDS = tuple(CONNECTORS)

STORMS: dict[str, Callable[[], Condition]] = {
    "fine": lambda: Weather.FINE,
    "lost": lambda: Weather.LOST,
    "silent": lambda: Weather.SILENT,
    "error": lambda: RuntimeError("HTTP 503"),
    "later": lambda: RetryLater("HTTP 429", after=20.0),
}

TERMINAL = {Phase.SUCCEEDED, Phase.FAILED, Phase.RETRYABLE_FAILED, Phase.ABORTED}


class BoomError(Exception):
    """What crashes an actor."""


@dataclass(eq=False)
class Said:
    """One call, and what came of it."""

    method: str
    kind: str
    about: Any
    asked: float
    deadline: float | None
    pending: Any = None
    answer: Any = None
    error: RpcError | None = None
    hung_up: bool = False

    @property
    def over(self) -> bool:
        return self.answer is not None or self.error is not None or self.hung_up


@dataclass
class World:
    """The whole of it."""

    driver: Driver = field(default_factory=Driver)
    store: FlakyStore = field(default_factory=FlakyStore)
    calls: list[Said] = field(default_factory=list)
    metas: dict[str, list[bytes]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    keys: dict[tuple[str, bytes], tuple[int, int]] = field(default_factory=dict)
    """(kind, meta) -> the place and the attempt that it was answered for."""
    current: dict[tuple[str, int, int], bytes] = field(default_factory=dict)
    """(kind, place, attempt) -> the meta that another CreateTask must get as well."""
    phases: dict[tuple[str, bytes], list[Phase]] = field(default_factory=dict)
    asked_to_delete: set[tuple[str, bytes]] = field(default_factory=set)
    """(kind, meta) of every DeleteTask, whatever its answer."""
    deleted: set[tuple[str, bytes]] = field(default_factory=set)
    """(kind, meta) of every DeleteTask that was answered with OK."""
    superseded: set[tuple[str, int, int]] = field(default_factory=set)
    answered: set[tuple[str, bytes]] = field(default_factory=set)
    """(kind, meta) of every GetTask that this node has answered: from then on it always does."""
    unknown: set[str] = field(default_factory=set)
    """The ids of tasks of which the node has said that nobody can know."""
    ledger_failed: bool = False
    client: Client | None = None
    crashed_at: float = -1e9
    wrong: list[AssertionError] = field(default_factory=list)
    """What was wrong with answers."""
    disturbances: list[float] = field(default_factory=list)
    """When anything of the node was crashed or restarted."""

    def __post_init__(self) -> None:
        self.systems = {kind: ExternalSystem(honours_keys=kind == "token") for kind in KINDS}
        self.before = self.driver.do(self._tasks)
        self.open()

    # ---- the node ---------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Start a node on the store."""
        self.answered.clear()
        self.driver.do(self._open)

    def close(self) -> None:
        """Stop the node; nothing of it is left."""
        client, self.client = self.client, None
        if client is None:
            return
        hosts = list(client.node.hosts.values())
        self.driver.do(self._close)
        assert self.driver.do(self._tasks) == self.before, "a task of the node outlived it"
        assert not client.node.hosts
        missed = client.node.directory._entries  # whose actor crashed for good, and was not replaced yet
        assert all(self.store.get(task) is not None for task in missed)
        assert [host._host.keys() for host in hosts] == [[] for _ in hosts]
        assert client.node.timers.statistics().pending == 0
        self.look()

    def end(self) -> None:
        """End the whole run."""
        self.driver.close()

    async def _tasks(self) -> set[Any]:
        await trio.testing.wait_all_tasks_blocked()
        return running_tasks()

    async def _open(self) -> None:
        self.client = await self.driver.nursery.start(self._live)

    async def _close(self) -> None:
        self._stop.set()
        await self._over.wait()
        await trio.testing.wait_all_tasks_blocked()

    async def _live(self, task_status: trio.TaskStatus[Client]) -> None:
        self._stop, self._over = trio.Event(), trio.Event()
        connectors = [make(self.systems[kind], POLICY) for kind, make in CONNECTORS.items()]
        async with running(*connectors, store=self.store) as client:
            task_status.started(client)
            await self._stop.wait()
        self._over.set()

    def crash_host(self, kind: str) -> None:
        """Crash the host of a connector from inside: one of its workers' nurseries fails."""
        assert self.client is not None
        host = self.client.node.hosts.get(self.client.category(kind))
        if host is None or self.now() - self.crashed_at < 10:  # more often, and the node gives up: as it should
            return
        self.crashed_at = self.now()
        nursery = host.lanes[0]._nursery
        assert nursery is not None
        nursery.start_soon(_boom)
        self.settle()

    def crash_actor(self, kind: str, pick: int, times: int) -> None:
        """Crash the actor of a task, so often in a row: by an event that cannot happen to it."""
        assert self.client is not None
        stages = self.stages(kind)
        if stages:
            self.driver.do(self._crash_actor, kind, sorted(stages)[pick % len(stages)], times)
            self.settle()

    async def _crash_actor(self, kind: str, task: str, times: int) -> None:
        assert self.client is not None
        for _ in range(times):
            stage = self.stages(kind).get(task)
            self.client.host(kind).tell(task, Created(b"") if stage == "deleting" else Gone())

    def stages(self, kind: str) -> dict[str, str]:
        assert self.client is not None
        return self.client.stages(kind) if self.client.category(kind) in self.client.node.hosts else {}

    # ---- time -------------------------------------------------------------------------------------------------

    def now(self) -> float:
        return self.driver.do(_now)

    def advance(self, seconds: float) -> None:
        self.driver.advance(seconds)
        self.look()

    def settle(self) -> None:
        self.driver.settle()
        self.look()

    # ---- callers ----------------------------------------------------------------------------------------------

    def create(self, kind: str, place: int, attempt: int, size: int, deadline: float | None) -> None:
        for lower in range(attempt):  # even if this create fails: the caller has given them up
            self.superseded.add((kind, place, lower))
            self.current.pop((kind, place, lower), None)
        self._ask("CreateTask", kind, (place, attempt, size), deadline)

    def get(self, kind: str, meta: bytes) -> None:
        self._ask("GetTask", kind, meta, 10.0)

    def delete(self, kind: str, meta: bytes) -> None:
        self.asked_to_delete.add((kind, meta))
        self.current.pop((kind, *self.keys[kind, meta]), None)
        self._ask("DeleteTask", kind, meta, 10.0)

    def hang_up(self, pick: int) -> None:
        """Have one of the callers that wait hang up."""
        waiting = [said for said in self.calls if not said.over]
        if waiting:
            said = waiting[pick % len(waiting)]
            said.hung_up = True
            said.pending.withdraw()

    def _ask(self, method: str, kind: str, about: Any, deadline: float | None) -> Said:
        said = Said(method, kind, about, self.now(), deadline)
        self.calls.append(said)
        self.driver.do(self._call, said)
        self.settle()
        return said

    async def _call(self, said: Said) -> None:
        assert self.client is not None
        try:
            if said.method == "CreateTask":
                place, attempt, size = said.about
                prefix = f"s3://bucket/{place}/{attempt}"
                said.pending = self.client.start_create(said.kind, prefix, deadline=said.deadline, size=size)
            elif said.method == "GetTask":
                said.pending = self.client.start_get(said.kind, said.about, deadline=said.deadline)
            else:
                said.pending = self.client.start_delete(said.kind, said.about, deadline=said.deadline)
        except RpcError as error:
            self._answered(said, error)
            return
        if isinstance(said.pending, bytes):
            self._answered(said, said.pending)
        else:
            said.pending.add_done_callback(partial(self._settled, said))

    def _settled(self, said: Said, pending: Any) -> None:
        if pending.withdrawn:
            return
        try:
            answer = pending.result()
        except RpcError as error:
            answer = error
        try:
            self._answered(said, answer)
        except AssertionError as error:  # whoever answers must not fail by it; `look` raises it
            self.wrong.append(error)

    def _answered(self, said: Said, answer: Any) -> None:
        assert not said.over, f"answered twice: {said}"
        if isinstance(answer, RpcError):
            said.error = answer
        else:
            said.answer = answer
        getattr(self, f"_heard_{said.method}")(said)

    # ---- what every answer must be ----------------------------------------------------------------------------

    def _heard_CreateTask(self, said: Said) -> None:  # noqa: N802 - the method's name
        place, attempt, _size = said.about
        if said.error is not None:
            assert said.error.status in {
                Status.INTERNAL,
                Status.UNAVAILABLE,
                Status.ABORTED,
                Status.FAILED_PRECONDITION,
            }, said
            return
        meta = admin.CreateTaskResponse.parse(said.answer).resource_meta
        assert meta
        if meta not in self.metas[said.kind]:
            self.metas[said.kind].append(meta)
            self.keys[said.kind, meta] = (place, attempt)
        assert self.keys[said.kind, meta] == (place, attempt), "two tasks have one name"
        if (said.kind, meta) in self.asked_to_delete or (said.kind, place, attempt) in self.superseded:
            return  # the create was under way when its task was deleted
        known = self.current.setdefault((said.kind, place, attempt), meta)
        assert known == meta or self.ledger_failed, "the same key has two names in one generation"

    def _heard_GetTask(self, said: Said) -> None:  # noqa: N802 - the method's name
        if said.error is not None:
            assert said.error.status is Status.UNAVAILABLE, said  # a host or an actor is being restarted
            assert self.disturbed(said.asked), said
            assert (said.kind, said.about) not in self.answered or self.ledger_failed, said
            return
        resource = admin.GetTaskResponse.parse(said.answer).resource
        assert resource is not None
        assert resource.phase is not Phase.UNDEFINED
        seen = self.phases.setdefault((said.kind, said.about), [])
        if seen and seen[-1] in TERMINAL and not self.ledger_failed:
            assert resource.phase is seen[-1], f"{said.about!r} was {seen}, and is {resource}"
        seen.append(resource.phase)
        self.answered.add((said.kind, said.about))

    def _heard_DeleteTask(self, said: Said) -> None:  # noqa: N802 - the method's name
        if said.error is None:
            self.deleted.add((said.kind, said.about))
        else:
            assert said.error.status is Status.UNAVAILABLE, said

    def disturb(self) -> None:
        """Note that something is crashed or restarted now."""
        self.disturbances.append(self.now())

    def disturbed(self, since: float) -> bool:
        """Whether something was crashed or restarted shortly before, or after, an instant."""
        return any(moment > since - 61 for moment in self.disturbances)

    # ---- what must hold at any time ---------------------------------------------------------------------------

    def look(self) -> None:
        """Look for what must never be."""
        for error in self.wrong:
            raise error
        if self.client is not None:
            directory = self.client.node.directory
            assert directory.census() == recount(directory), "a metric is wrong"
        now = self.now()
        for said in self.calls:
            if not said.over and said.deadline is not None:
                assert now < said.asked + said.deadline, f"not answered in time: {said}"
        for kind, system in self.systems.items():
            made = [deed.key for deed in system.deeds("create")]
            assert len(set(made)) == len(made), f"{kind}: one task has two jobs"
            if self.client is not None:
                self.unknown |= {task for task, stage in self.stages(kind).items() if stage == "unknown"}

    # ---- what must hold in the end ----------------------------------------------------------------------------

    def jobs_of(self, kind: str, meta: bytes) -> list[str]:
        """Return the jobs that a resource_meta stands for."""
        task = decode_reference_untrusted(meta)
        if task is not None:
            return [job.name for job in self.systems[kind].jobs.values() if job.key == task]
        return [JobMeta.decode(meta).job]

    def conclude(self) -> None:
        """End all faults, let time pass, and judge."""
        if self.client is None:
            return  # stopping it has failed already
        self.store.failing = False
        for system in self.systems.values():
            system.calm()
        self.advance(3 * 3600)
        for kind in KINDS:
            self._judge(kind)
        unanswered = [said for said in self.calls if not said.over]
        assert not unanswered
        self.close()

    def _judge(self, kind: str) -> None:
        system, stages = self.systems[kind], self.stages(kind)
        assert set(stages.values()) <= {"live", "finished", "deleted", "unknown"}, stages
        running_jobs = {j.name for j in system.living() if j.phase is Phase.RUNNING and j.key not in self.unknown}
        deleted = {job for k, meta in self.deleted if k == kind for job in self.jobs_of(kind, meta)}
        assert not running_jobs & deleted, "a job lives that was deleted"
        assert self.client is not None
        host = self.client.host(kind)
        owned = {host.state(task).meta for task, stage in stages.items() if stage == "live"}
        lost = {job for job in running_jobs if JobMeta(job=job).encode() not in owned}
        assert not lost, "a job lives that nobody owns"
        may_go = {job for k, meta in self.asked_to_delete if k == kind for job in self.jobs_of(kind, meta)}
        may_go |= {
            job
            for (k, meta), (place, attempt) in self.keys.items()
            if k == kind and (k, place, attempt) in self.superseded
            for job in self.jobs_of(k, meta)
        }
        named = {job for (k, meta) in self.keys if k == kind for job in self.jobs_of(k, meta)}
        gone = {deed.job for deed in system.deeds("delete")}
        assert gone & named <= may_go, "a job was deleted that nobody wanted deleted"


async def _now() -> float:
    return trio.current_time()


async def _boom() -> NoReturn:
    raise BoomError
