"""A registered connector as the server calls it."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import trio

from flytower.connectors import (
    AsyncConnectorBase,
    Bound,
    ConnectorContractError,
    ConnectorError,
    ConnectorMethodNotImplemented,
    Flavour,
    InvalidResource,
    JobNotFound,
    Policy,
    Recovery,
    Resource,
    ResourceMeta,
    ResourceMetaError,
    SyncConnectorBase,
    TaskExecution,
    TaskTemplate,
)
from flytower.protocol.codec import struct_to_dict
from flytower.protocol.encode import encoded
from flytower.protocol.generated.flyteidl import admin
from flytower.protocol.generated.flyteidl.core import ExecutionMetricResult, LiteralMap, TaskExecutionPhase
from flytower.protocol.literals import from_literal_map, to_literal_map
from flytower.protocol.received import share

if TYPE_CHECKING:
    from collections.abc import Callable

META = b'{"job_id":"1"}'


class Meta(ResourceMeta):
    job_id: str


class Recording(AsyncConnectorBase):
    """Notes its calls, and answers what a test has put into `answers`; an exception there is raised."""

    name = "Recording"

    def __init__(self, metadata_type: type[ResourceMeta] = Meta, **answers: Any) -> None:
        super().__init__(task_type_name="recording", metadata_type=metadata_type)
        self.answers = {"create": Meta("1"), "get": Resource(TaskExecution.RUNNING), "delete": None, **answers}
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def answer(self, method: str, given: dict[str, Any]) -> Any:
        self.calls.append((method, given))
        if isinstance(self.answers[method], BaseException):
            raise self.answers[method]
        return self.answers[method]

    async def create(self, **kwargs: Any) -> Any:  # type: ignore[override]  # takes whatever it is given
        return self.answer("create", kwargs)

    def get(self, resource_meta: Meta, **kwargs: Any) -> Any:
        return self.answer("get", {"resource_meta": resource_meta, **kwargs})

    async def delete(self, meta: Meta) -> Any:  # type: ignore[override]  # its own name for it, and nothing else
        return self.answer("delete", {"meta": meta})


class Full(Recording):
    def get_metrics(self, resource_meta: Meta, **kwargs: Any) -> Any:
        return self.answer("get_metrics", kwargs)

    def find(self, key: str, **kwargs: Any) -> Any:
        return self.answer("find", {"key": key})


class Sync(SyncConnectorBase):
    name = "Sync"

    def __init__(self, answer: Any = None) -> None:
        super().__init__(task_type_name="sync")
        self.answer = answer

    def do(self, task_template: Any, output_prefix: str, inputs: Any = None, **kwargs: Any) -> Any:
        return self.answer or Resource(
            TaskExecution.SUCCEEDED, outputs={"prefix": output_prefix, "more": sorted(kwargs)}
        )


async def create(bound: Bound, key: str = "k") -> bytes:
    return await bound.create(TaskTemplate(type="recording"), "s3://out", LiteralMap(), None, key)


# ---- calls ----------------------------------------------------------------------------------------------------


async def test_create_is_given_everything_and_its_metadata_comes_back_as_bytes() -> None:
    connector = Recording()
    assert await create(Bound(connector)) == META
    ((_, given),) = connector.calls
    assert given == {
        "task_template": TaskTemplate(type="recording"),
        "output_prefix": "s3://out",
        "inputs": LiteralMap(),
        "task_execution_metadata": None,
        "idempotency_key": "k",
    }


@pytest.mark.parametrize("leaves_it", [False, True])
async def test_a_template_that_tasks_share_is_given_to_a_connector_that_leaves_it_and_to_others_a_copy(
    *, leaves_it: bool
) -> None:
    connector = Recording()
    connector.shares_templates = leaves_it
    template = share(TaskTemplate(type="recording"))
    await Bound(connector).create(template, "s3://out", None, None, "k")
    ((_, given),) = connector.calls
    assert given["task_template"] == template
    assert (given["task_template"] is template) is leaves_it


async def test_a_create_in_the_signature_of_the_specification_gets_no_key() -> None:
    class Strict(Recording):
        async def create(  # type: ignore[override]  # the specification's signature has no **kwargs
            self, task_template: Any, output_prefix: Any, inputs: Any, task_execution_metadata: Any
        ) -> Any:
            return Meta(output_prefix)

    bound = Bound(Strict())
    assert not bound.capabilities.idempotency_key
    assert await create(bound) == b'{"job_id":"s3://out"}'


async def test_get_and_delete_are_given_the_decoded_metadata() -> None:
    connector = Recording()
    bound = Bound(connector)
    assert (await bound.get(META, output_prefix="s3://out")).phase is TaskExecution.RUNNING
    await bound.get(META)
    await bound.delete(META)
    assert connector.calls == [
        ("get", {"resource_meta": Meta("1"), "output_prefix": "s3://out"}),
        ("get", {"resource_meta": Meta("1")}),
        ("delete", {"meta": Meta("1")}),
    ]


@pytest.mark.parametrize(
    "answer",
    [
        Resource(TaskExecution.RUNNING, "it runs"),
        Resource(TaskExecution.SUCCEEDED, outputs={"n": 1}),
        admin.Resource(phase=TaskExecution.FAILED, message="mine"),
    ],
)
async def test_a_status_is_what_get_gives_as_bytes(answer: Any) -> None:
    connector = Recording(get=answer)
    bound = Bound(connector)
    message = await bound.get(META)
    assert await bound.status(META) == (message.phase, encoded(message))
    assert connector.calls == [("get", {"resource_meta": Meta("1")})] * 2


async def test_find_gives_metadata_or_nothing() -> None:
    assert await Bound(Full(find=Meta("2"))).find("k") == b'{"job_id":"2"}'
    assert await Bound(Full(find=None)).find("k") is None


async def test_a_message_that_the_connector_made_itself_is_taken() -> None:
    message = admin.Resource(phase=TaskExecution.SUCCEEDED, message="mine")
    assert await Bound(Recording(get=message)).get(META) is message


async def test_a_synchronous_task_is_executed_in_one_call() -> None:
    resource = await Bound(Sync()).do(TaskTemplate(), "s3://out", None)
    assert resource.outputs is not None
    assert from_literal_map(resource.outputs) == {"prefix": "s3://out", "more": []}


async def test_plain_methods_share_the_threads_that_the_policy_allows() -> None:
    class Narrow(Recording):
        policy = Policy(thread_limit=1)
        at_once: ClassVar[list[int]] = []

        def get(self, resource_meta: Any, **kwargs: Any) -> Any:
            trio.from_thread.run(self.look)
            return Resource(TaskExecution.RUNNING)

        async def look(self) -> None:
            self.at_once.append(int(bound.limiter.borrowed_tokens))
            await trio.lowlevel.checkpoint()

    bound = Bound(Narrow())
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(bound.get, META)
    assert Narrow.at_once == [1] * 5


# ---- what connectors get wrong --------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [None, "job-1", {"job_id": "1"}, Resource(TaskExecution.RUNNING)])
async def test_a_create_that_returns_no_metadata_is_the_authors_fault(answer: Any) -> None:
    with pytest.raises(ConnectorContractError, match="create of Recording returned a"):
        await create(Bound(Recording(create=answer)))


async def test_a_job_whose_metadata_cannot_be_encoded_is_deleted_again() -> None:
    """Nobody else could ever name it."""
    connector = Recording(create=Meta("x" * 100_000))
    with pytest.raises(ResourceMetaError):
        await create(Bound(connector))
    assert [name for name, _ in connector.calls] == ["create", "delete"]


async def test_the_first_error_is_the_one_to_hear_when_that_delete_fails_too() -> None:
    with pytest.raises(ResourceMetaError):
        await create(Bound(Recording(create=Meta("x" * 100_000), delete=SystemExit(1))))


@pytest.mark.parametrize("answer", [None, TaskExecution.RUNNING, META, {"phase": 2}])
async def test_a_get_that_returns_no_resource_is_the_authors_fault(answer: Any) -> None:
    with pytest.raises(ConnectorContractError, match="get of Recording returned a"):
        await Bound(Recording(get=answer)).get(META)
    with pytest.raises(ConnectorContractError, match="get of Recording returned a"):
        await Bound(Recording(get=answer)).status(META)


@pytest.mark.parametrize(
    "answer",
    [Resource(TaskExecution.UNDEFINED), Resource(99), admin.Resource(), admin.Resource(phase=TaskExecutionPhase(77))],  # type: ignore[arg-type]
)
async def test_a_phase_that_flyte_would_misread_never_leaves(answer: Any) -> None:
    with pytest.raises(InvalidResource):
        await Bound(Recording(get=answer)).get(META)


@pytest.mark.parametrize("phase", sorted(set(TaskExecutionPhase) - {TaskExecution.UNDEFINED}))
async def test_a_synchronous_task_must_end(phase: TaskExecutionPhase) -> None:
    bound = Bound(Sync(Resource(phase)))
    if phase in (3, 4, 5, 8):
        assert (await bound.do(TaskTemplate(), "", None)).phase is phase
    else:
        with pytest.raises(InvalidResource, match=phase.name or ""):
            await bound.do(TaskTemplate(), "", None)


async def test_what_an_author_raises_arrives() -> None:
    with pytest.raises(JobNotFound, match="gone"):
        await Bound(Recording(get=JobNotFound("gone"))).get(META)
    with pytest.raises(ConnectionError):
        await Bound(Recording(delete=ConnectionError("no"))).delete(META)


class Odd(ResourceMeta):
    job_id: str
    encoded: ClassVar[Any] = b"odd"
    decoded: ClassVar[Any] = None

    def encode(self) -> bytes:
        encoded: bytes = _raised_or(self.encoded)
        return encoded

    @classmethod
    def decode(cls, data: bytes) -> Any:
        return _raised_or(cls.decoded or cls(job_id=data.decode()))


def _raised_or(value: Any) -> Any:
    if isinstance(value, BaseException):
        raise value
    return value


async def test_an_author_may_encode_as_he_likes() -> None:
    connector = Recording(metadata_type=Odd, create=Odd("7"))
    bound = Bound(connector)
    assert await create(bound) == b"odd"
    await bound.get(b"odd")
    assert connector.calls[-1][1]["resource_meta"].job_id == "odd"


@pytest.mark.parametrize("error", [KeyError("x"), RecursionError(), SystemExit(1)])
async def test_whatever_his_codec_raises_is_one_kind_of_error(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = Bound(Recording(metadata_type=Odd, create=Odd("7")))
    monkeypatch.setattr(Odd, "encoded", error)
    monkeypatch.setattr(Odd, "decoded", error)
    with pytest.raises(ResourceMetaError):
        await create(bound)
    for call in (bound.get, bound.delete, bound.decode):
        with pytest.raises(ResourceMetaError):
            await _maybe_await(call(META))


async def _maybe_await(value: Any) -> Any:
    return await value if hasattr(value, "__await__") else value


async def test_a_codec_that_gives_something_else_is_the_authors_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    bound = Bound(Recording(metadata_type=Odd, create=Odd("7")))
    monkeypatch.setattr(Odd, "encoded", "text")
    monkeypatch.setattr(Odd, "decoded", Meta("1"))
    with pytest.raises(ConnectorContractError, match="not bytes"):
        await create(bound)
    with pytest.raises(ResourceMetaError, match="but a Meta"):
        bound.decode(META)


# ---- what connectors do not have ------------------------------------------------------------------------------


async def test_methods_that_are_not_there_say_so() -> None:
    bound = Bound(Recording())
    assert (bound.capabilities.metrics, bound.capabilities.logs, bound.capabilities.find) == (False, False, False)
    with pytest.raises(ConnectorMethodNotImplemented):
        await bound.metrics(META)
    with pytest.raises(ConnectorMethodNotImplemented):
        await bound.find("k")
    with pytest.raises(ConnectorMethodNotImplemented):
        await anext(bound.logs(META))


async def test_flytekits_way_of_not_having_a_method_is_understood() -> None:
    """There the methods are overridden, and raise NotImplementedError."""
    with pytest.raises(ConnectorMethodNotImplemented):
        await Bound(Full(get_metrics=NotImplementedError())).metrics(META)


async def test_the_methods_of_the_base_class_say_that_they_are_not_implemented() -> None:
    connector = Recording()
    for call in (connector.get_metrics, connector.get_logs, connector.find):
        with pytest.raises(NotImplementedError):
            call("x")


async def test_a_connector_of_the_other_kind_has_no_such_call() -> None:
    with pytest.raises(ConnectorMethodNotImplemented):
        await Bound(Sync()).get(META)
    with pytest.raises(ConnectorMethodNotImplemented):
        await Bound(Recording()).do(TaskTemplate(), "", None)
    with pytest.raises(ConnectorMethodNotImplemented):
        await create(Bound(Sync()))


# ---- metrics --------------------------------------------------------------------------------------------------


async def test_metrics_are_a_message_results_or_a_dictionary() -> None:
    result = ExecutionMetricResult(metric="cpu")
    message = admin.GetTaskMetricsResponse(results=[result])
    assert await Bound(Full(get_metrics=message)).metrics(META) is message
    assert (await Bound(Full(get_metrics=[result])).metrics(META)).results == [result]
    response = await Bound(Full(get_metrics={"cpu": 0.5, "series": {"values": [1, 2]}})).metrics(META)
    found = {one.metric: struct_to_dict(one.data) for one in response.results if one.data}
    assert found == {"cpu": {"value": 0.5}, "series": {"values": [1, 2]}}


async def test_the_question_reaches_get_metrics() -> None:
    connector = Full(get_metrics={})
    start, end, step = (
        dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
        dt.timedelta(hours=1),
    )
    await Bound(connector).metrics(META, queries=["cpu"], start_time=start, end_time=end, step=step)
    assert connector.calls == [
        ("get_metrics", {"queries": ["cpu"], "start_time": start, "end_time": end, "step": step})
    ]


@pytest.mark.parametrize("answer", [None, "cpu", ["cpu"], {"cpu": object()}, {"cpu": float("nan")}])
async def test_metrics_that_cannot_be_shown_are_the_authors_fault(answer: Any) -> None:
    with pytest.raises(ConnectorContractError):
        await Bound(Full(get_metrics=answer)).metrics(META)


# ---- registration ---------------------------------------------------------------------------------------------


def test_a_connector_with_a_method_missing_cannot_be_made() -> None:
    class Half(AsyncConnectorBase):
        def create(self, *args: Any, **kwargs: Any) -> Any: ...

    with pytest.raises(TypeError, match="abstract"):
        Half(task_type_name="half", metadata_type=Meta)  # type: ignore[abstract]


@pytest.mark.parametrize("kind", [Meta("1"), dict, None])
def test_a_metadata_type_that_is_none_is_refused(kind: Any) -> None:
    with pytest.raises(ConnectorContractError, match="metadata_type"):
        Recording(metadata_type=kind)


def changed(**attributes: Any) -> Callable[[], Recording]:
    return type("Changed", (Recording,), attributes)


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        ({"name": ""}, "name must be"),
        ({"name": 5}, "name must be"),
        ({"policy": {"get_timeout": 1}}, "policy must be"),
        ({"flavour": "asyncio"}, "flavour must be"),
        ({"flavour": Flavour.THREAD}, "flavour must be"),
        ({"policy": Policy(recovery=Recovery.FIND)}, "no method `find`"),
        ({"get": lambda self, resource_meta, secret: None}, "get of Recording asks for 'secret'"),
        ({"create": lambda self, project: None}, "create of Recording asks for 'project'"),
        (
            {"create": lambda self, task_template: None, "policy": Policy(recovery=Recovery.TOKEN)},
            "takes no `idempotency_key`",
        ),
    ],
)
def test_a_connector_that_cannot_work_is_refused_at_registration(attributes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConnectorContractError, match=problem):
        Bound(changed(**attributes)())


def test_a_connector_that_forgot_its_base_class_is_told_so() -> None:
    with pytest.raises(ConnectorContractError, match="super"):
        Bound(changed(__init__=lambda self: None)())


def test_something_else_is_no_connector() -> None:
    with pytest.raises(ConnectorContractError):
        Bound("connector")  # type: ignore[arg-type]


def test_what_is_known_of_a_connector_is_there_to_read() -> None:
    bound = Bound(Full())
    assert (bound.name, str(bound.category), bound.is_sync) == ("Recording", "recording_v0", False)
    assert bound.capabilities.metrics
    assert bound.capabilities.find
    assert bound.capabilities.idempotency_key
    assert repr(bound) == "<Bound 'Recording' for recording_v0>"
    assert Bound(Sync()).is_sync


async def test_literal_maps_go_through_unchanged() -> None:
    outputs = to_literal_map({"x": 1})
    resource = await Bound(Sync(Resource(TaskExecution.SUCCEEDED, outputs=outputs))).do(TaskTemplate(), "", None)
    assert resource.outputs is outputs


def test_errors_about_connectors_have_one_base() -> None:
    assert issubclass(ConnectorContractError, ConnectorError)
    assert issubclass(ConnectorMethodNotImplemented, ConnectorError)
