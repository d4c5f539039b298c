"""Connectors that the end-to-end tests have served: what they do is in the task's `custom` and in files.

They stand for an external system with its own record: every create, its end and every delete is a line in `record`,
in the folder in which the server runs. A call that has to wait does so for a file of a given name there.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from flytower import (
    AsyncConnectorBase,
    ConnectorRegistry,
    LiteralMap,
    Policy,
    Recovery,
    Resource,
    ResourceMeta,
    SyncConnectorBase,
    TaskExecution,
    TaskExecutionMetadata,
    TaskTemplate,
)
from flytower.protocol.codec import struct_to_dict
from flytower.protocol.literals import from_literal_map

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FOLDER = Path.cwd()

BLOCKING: dict[str, Callable[[], object]] = {
    "sleep": lambda: time.sleep(3600),
    "compute": lambda: hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1),  # in C, which looks for no signal
}
"""Ways to block the event loop for an hour, as far as anybody waits for it."""

FAST = Policy(poll_minimum=0.02, poll_maximum=0.1, not_found_grace=0.0, delete_minimum=0.02)


def custom_of(task_template: TaskTemplate) -> dict[str, Any]:
    return struct_to_dict(task_template.custom) if task_template.custom else {}


def note(*words: str) -> None:
    with (FOLDER / "record").open("a") as record:
        record.write(" ".join(words) + "\n")


async def wait_for(name: str) -> None:
    while not (FOLDER / name).exists():  # noqa: ASYNC110 - no event tells what another process does
        await trio.sleep(0.01)


def said(answer: dict[str, Any]) -> Resource:
    """Return, or raise, what a task's `custom` says that the external system says."""
    if "error" in answer:
        raise RuntimeError(answer["error"] * int(answer.get("times", 1)))
    return Resource(
        phase=TaskExecution.Phase.from_string(answer.get("phase", "SUCCEEDED")),
        message=answer.get("message"),
        outputs=answer.get("outputs"),
    )


class ScriptedMeta(ResourceMeta):
    job: str
    answer: str


class ScriptedConnector(AsyncConnectorBase):
    """Its jobs do what their `custom` says: `create` (its answer), `wait` (for a file), `block` (how), `answer`."""

    name = "Scripted Connector"
    policy = FAST

    def __init__(self) -> None:
        super().__init__(task_type_name="scripted", metadata_type=ScriptedMeta)

    async def create(
        self,
        task_template: TaskTemplate,
        output_prefix: str,
        inputs: LiteralMap | None,
        task_execution_metadata: TaskExecutionMetadata | None,
        **kwargs: Any,
    ) -> ScriptedMeta:
        custom = custom_of(task_template)
        note("create", output_prefix)
        if "wait" in custom:
            await wait_for(custom["wait"])
        if "block" in custom:
            note("blocking", output_prefix)
            BLOCKING[custom["block"]]()  # what a coroutine must not do
        said(custom.get("create", {}))
        job = uuid.uuid4().hex
        note("created", output_prefix, job)
        return ScriptedMeta(job=job, answer=json.dumps(custom.get("answer", {})))

    async def get(self, resource_meta: ScriptedMeta, **kwargs: Any) -> Resource:
        return said(json.loads(resource_meta.answer))

    async def delete(self, resource_meta: ScriptedMeta, **kwargs: Any) -> None:
        note("delete", resource_meta.job)

    async def get_metrics(
        self, resource_meta: ScriptedMeta, queries: Sequence[str] = (), **kwargs: Any
    ) -> dict[str, Any]:
        return {query: {"job": resource_meta.job, "value": 1.5} for query in queries}


class TwinMeta(ResourceMeta):
    job: str


class TwinConnector(AsyncConnectorBase):
    """One of several versions of one type; its methods are plain functions. It has neither logs nor metrics."""

    policy = FAST

    def __init__(self, version: int) -> None:
        self.name = f"Twin {version}"
        super().__init__(task_type_name="twin", task_type_version=version, metadata_type=TwinMeta)

    def create(self, task_template: TaskTemplate, output_prefix: str, *args: Any, **kwargs: Any) -> TwinMeta:
        return TwinMeta(job=uuid.uuid4().hex)

    def get(self, resource_meta: TwinMeta, **kwargs: Any) -> Resource:
        return Resource(phase=TaskExecution.SUCCEEDED, message=self.name)

    def delete(self, resource_meta: TwinMeta, **kwargs: Any) -> None:
        note("delete", resource_meta.job)


class InstantConnector(SyncConnectorBase):
    """Its tasks answer what their `custom` says, with their inputs for outputs unless that says otherwise."""

    name = "Instant Connector"
    policy = Policy(do_timeout=30.0)

    def __init__(self) -> None:
        super().__init__(task_type_name="instant")

    async def do(
        self, task_template: TaskTemplate, output_prefix: str, inputs: LiteralMap | None = None, **kwargs: Any
    ) -> Resource:
        custom = custom_of(task_template)
        if "wait" in custom:
            note("do", output_prefix)
            await wait_for(custom["wait"])
        outputs = from_literal_map(inputs) if inputs is not None else None
        return said({"outputs": outputs, **custom})


class HastyConnector(InstantConnector):
    """Gives its tasks no time."""

    name = "Hasty Connector"
    policy = Policy(do_timeout=0.01)

    def __init__(self) -> None:
        SyncConnectorBase.__init__(self, task_type_name="hasty")


for connector in (ScriptedConnector(), TwinConnector(0), TwinConnector(2), InstantConnector(), HastyConnector()):
    ConnectorRegistry.register(connector)


class TokenConnector(ScriptedConnector):
    """The same, and its external system honours idempotency keys: the record has the second create as well."""

    name = "Token Connector"
    policy = Policy(
        recovery=Recovery.TOKEN, poll_minimum=0.02, poll_maximum=0.1, not_found_grace=0.0, delete_minimum=0.02
    )

    def __init__(self) -> None:
        AsyncConnectorBase.__init__(self, task_type_name="token", metadata_type=ScriptedMeta)

    async def create(
        self,
        task_template: TaskTemplate,
        output_prefix: str,
        inputs: LiteralMap | None,
        task_execution_metadata: TaskExecutionMetadata | None,
        *,
        idempotency_key: str = "",
        **kwargs: Any,
    ) -> ScriptedMeta:
        custom = custom_of(task_template)
        note("asked", output_prefix, idempotency_key)
        if "wait" in custom:
            await wait_for(custom["wait"])
        return ScriptedMeta(job=idempotency_key, answer=json.dumps(custom.get("answer", {"phase": "RUNNING"})))


ConnectorRegistry.register(TokenConnector())


class CountedConnector(ScriptedConnector):
    """The same, and three polls in vain are enough."""

    name = "Counted Connector"
    policy = replace(FAST, failure_count=3)

    def __init__(self) -> None:
        AsyncConnectorBase.__init__(self, task_type_name="counted", metadata_type=ScriptedMeta)


ConnectorRegistry.register(CountedConnector())
