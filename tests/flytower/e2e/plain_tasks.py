"""A user's own file without flytekit: tasks that go on until their job is deleted."""

from __future__ import annotations

import asyncio
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import trio

from flytower import AsyncConnectorBase, AsyncConnectorExecutorMixin, ConnectorRegistry, Resource, ResourceMeta
from flytower import TaskExecution as Phase

RECORD = Path.cwd() / "record"


def note(*words: object) -> None:
    """Leave a line."""
    with RECORD.open("a") as record:
        record.write(" ".join(map(str, words)) + "\n")


class ForEverMeta(ResourceMeta):
    """Names a job."""

    job: str


class ForEverConnector(AsyncConnectorBase):
    """Its jobs go on until they are deleted."""

    name = "For ever"

    def __init__(self) -> None:
        super().__init__(task_type_name="for_ever", metadata_type=ForEverMeta)

    async def create(self, task_template: Any, **_: Any) -> ForEverMeta:  # type: ignore[override]  # as users write it
        """Begin."""
        note("create", task_template.id.name)
        return ForEverMeta(job=task_template.id.name)

    async def get(self, resource_meta: ForEverMeta, **_: Any) -> Resource:
        """Say that it runs."""
        return Resource(phase=Phase.RUNNING)

    async def delete(self, resource_meta: ForEverMeta, **_: Any) -> None:
        """End, but for a stubborn one."""
        note("deleting", resource_meta.job)
        if resource_meta.job == "stubborn":
            await trio.sleep_forever()
        note("delete", resource_meta.job)


ConnectorRegistry.register(ForEverConnector())


class ForEver(AsyncConnectorExecutorMixin):
    """Their task."""

    task_type = "for_ever"

    def __init__(self, name: str = "it") -> None:
        self.name = name


async def in_a_coroutine() -> None:
    """Block inside of a loop."""
    ForEver().execute()


def in_threads() -> None:
    """Run two at once."""
    threads = ThreadPoolExecutor(2)
    list(threads.map(lambda name: ForEver(name).execute(), ("one", "two")))


def elsewhere(name: str) -> None:
    """Fail while a thread that Python waits for runs a task."""
    thread = threading.Thread(target=lambda: ForEver(name).execute())
    thread.start()
    while not RECORD.exists():
        pass
    raise RuntimeError("something else went wrong")


DOES: dict[str, Any] = {
    "asyncio": lambda: asyncio.run(in_a_coroutine()),
    "trio": lambda: trio.run(in_a_coroutine),
    "threads": in_threads,
    "elsewhere": lambda: elsewhere("it"),
    "stubborn elsewhere": lambda: elsewhere("stubborn"),
}

if __name__ == "__main__":
    DOES[sys.argv[1]]()
