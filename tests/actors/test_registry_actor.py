"""The registry's actor publishes who serves what; readers never wait for it."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from flytower.actors.registry import Lookup, Refresh, RegistryActor, RegistryMessage, Routes, routes_of
from flytower.connectors.base import AsyncConnectorBase, SyncConnectorBase
from flytower.connectors.category import TaskCategory
from flytower.connectors.registry import Registry
from flytower.connectors.resource import Resource
from flytower.connectors.resource_meta import ResourceMeta
from flytower.protocol.generated.flyteidl.admin import Agent, GetAgentResponse, ListAgentsResponse
from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase
from flytower.protocol.status import RpcError, Status
from flytower.runtime.spec import ServiceSpec
from flytower.runtime.system import open_system

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from flytower.runtime.ref import Ref


class Meta(ResourceMeta):
    number: int


class Jobs(AsyncConnectorBase):
    name = "Jobs"

    def __init__(self, version: int = 0) -> None:
        super().__init__(task_type_name="job", task_type_version=version, metadata_type=Meta)

    async def create(self, *args: Any, **kwargs: Any) -> Meta:
        return Meta(number=1)

    async def get(self, resource_meta: Any, **kwargs: Any) -> Resource:
        return Resource(phase=Phase.RUNNING)

    async def delete(self, resource_meta: Any, **kwargs: Any) -> None:
        pass


class Questions(SyncConnectorBase):
    name = "Questions"

    def __init__(self) -> None:
        super().__init__(task_type_name="question")

    async def do(self, task_template: Any, output_prefix: str, inputs: Any = None, **kwargs: Any) -> Resource:
        return Resource(phase=Phase.SUCCEEDED)


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    registry.register(Jobs())
    registry.register(Questions())
    return registry


def refused(error: RpcError) -> tuple[Status, str]:
    return error.status, str(error)


def test_a_category_is_routed_to_its_connector_and_version(registry: Registry) -> None:
    registry.register(Jobs(version=1))
    routes = routes_of(registry)
    assert routes.lookup(TaskCategory("job", 1)).category == TaskCategory("job", 1)
    assert routes.lookup(TaskCategory("job")) is registry.get_bound("job", 0)
    assert routes.lookup(TaskCategory("question")).is_sync


def test_an_unknown_category_is_not_found(registry: Registry) -> None:
    with pytest.raises(RpcError, match=r"Cannot find connector for task category: spark_v0\.$") as caught:
        routes_of(registry).lookup(TaskCategory("spark"))
    assert caught.value.status is Status.NOT_FOUND


def test_a_wrong_version_is_told_which_ones_are_served(registry: Registry) -> None:
    registry.register(Jobs(version=3))
    with pytest.raises(RpcError, match="This server has version 0, 3 of that task type"):
        routes_of(registry).lookup(TaskCategory("job", 2))


def test_agents_are_listed_with_both_of_flytes_fields(registry: Registry) -> None:
    """Flyte 1 reads the deprecated field too."""
    [jobs, questions] = ListAgentsResponse.parse(routes_of(registry).listing).agents
    assert (jobs.name, jobs.is_sync, jobs.supported_task_types) == ("Jobs", False, ["job"])
    assert [(category.name, category.version) for category in jobs.supported_task_categories] == [("job", 0)]
    assert (questions.name, questions.is_sync) == ("Questions", True)


def test_an_agent_is_found_by_the_name_of_its_connector(registry: Registry) -> None:
    agent = GetAgentResponse.parse(routes_of(registry).agent("Jobs")).agent
    assert isinstance(agent, Agent)
    assert agent.name == "Jobs"
    with pytest.raises(RpcError, match=r"Cannot find connector for name: Spark\.") as caught:
        routes_of(registry).agent("Spark")
    assert caught.value.status is Status.NOT_FOUND


def test_without_connectors_the_list_is_empty_and_no_error() -> None:
    assert ListAgentsResponse.parse(routes_of(Registry()).listing).agents == []
    assert ListAgentsResponse.parse(Routes().listing).agents == []


@asynccontextmanager
async def running(registry: Registry, published: list[Routes]) -> AsyncIterator[Ref[RegistryMessage]]:
    spec = ServiceSpec("registry", lambda: RegistryActor(registry, published.append))
    async with open_system([spec], rng=random.Random(0)):  # noqa: S311 - seeded
        yield spec.ref


async def test_the_routes_are_there_before_anybody_who_depends_on_them_starts(
    autojump_clock: object, registry: Registry
) -> None:
    published: list[Routes] = []
    async with running(registry, published) as ref:
        assert [len(routes.connectors) for routes in published] == [2]
        found = await ref.ask(Lookup(TaskCategory("job")))
        assert found is registry.get_bound("job")


async def test_a_failed_lookup_is_an_answer_and_does_not_harm_the_actor(
    autojump_clock: object, registry: Registry
) -> None:
    published: list[Routes] = []
    async with running(registry, published) as ref:
        with pytest.raises(RpcError, match="spark_v0"):
            await ref.ask(Lookup(TaskCategory("spark")))
        assert await ref.ask(Refresh()) == 2
    assert len(published) == 2, "it was restarted"


async def test_a_connector_that_is_registered_later_is_served_after_a_refresh(
    autojump_clock: object, registry: Registry
) -> None:
    published: list[Routes] = []
    async with running(registry, published) as ref:
        first = published[-1]
        registry.register(Jobs(version=1))
        assert await ref.ask(Refresh()) == 3
        assert TaskCategory("job", 1) in published[-1].connectors
        assert TaskCategory("job", 1) not in first.connectors
