"""A server with a plugin's connectors, beside what stands for their system; and the ways to drive them."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from flyteidl.admin import agent_pb2
from flyteidl.core import types_pb2

from tests.flytower.e2e.client import PATIENCE, TERMINAL, Flyte, Phase, create_request

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests_plugins.counterparts.jobs import Counterpart

WHOLE = "create, get, delete"
"""A job was created and read until it had succeeded; another was deleted while it ran, and the counterpart says so."""

HALF = "create, get"

DO = "do"


class Wanted(NamedTuple):
    """A task's template, as far as connectors look at it.

    Args:
        task_type: Its type.
        custom: What its plugin's task class puts there.
        args: Its container's command.
        sql: Its statement.
        config: What SQL tasks have instead of custom.
        name: Its name.
        inputs: Strings that it is given.
    """

    task_type: str
    custom: Mapping[str, Any] = {}
    args: Sequence[str] = ()
    sql: str = ""
    config: Mapping[str, str] = {}
    name: str = "drive"
    inputs: Mapping[str, str] = {}


class Site:
    """Where a plugin is driven.

    Args:
        flyte: A client of the server.
        counterpart: What stands for the external system.
        folder: Where the server runs.
    """

    def __init__(self, flyte: Flyte, counterpart: Counterpart, folder: Path) -> None:
        self.flyte, self.counterpart, self.folder = flyte, counterpart, folder

    def live_and_die(self, short: Wanted, endless: Wanted) -> str:
        """Have one job succeed, and another deleted while it runs; the external system is asked for just that."""
        before = list(self.counterpart.record())
        self.succeed(short)
        record = self.counterpart.record()
        assert record == [*before, f"create {_next_job(before)}"], record
        phase = self.die(endless)
        assert phase not in TERMINAL, Phase.Phase.Name(phase)
        return WHOLE

    def die(self, endless: Wanted) -> int:
        """Have a job deleted while it runs, and the external system asked for that; its phase before."""
        before = list(self.counterpart.record())
        phase = self.leave(endless)
        record = self.counterpart.record()
        assert record == [*before, f"create {_next_job(before)}", f"cancel {_next_job(before)}"], record
        return phase

    def leave(self, endless: Wanted) -> int:
        """Have a job deleted while it runs, whatever its connector does then; its phase before."""
        meta = self.flyte.create(self._request(endless))
        phase = self._phase(endless, meta)
        self.flyte.delete(endless.task_type, meta)
        self._wait(lambda: self._phase(endless, meta) == Phase.ABORTED, lambda: self.flyte.get(endless.task_type, meta))
        return phase

    def fail_to_poll(self, wanted: Wanted, reason: str) -> None:
        """Have a job whose connector cannot tell how it is."""
        meta = self.flyte.create(self._request(wanted))
        self._wait(
            lambda: reason in self.flyte.get(wanted.task_type, meta).message,
            lambda: self.flyte.get(wanted.task_type, meta),
        )

    def succeed(self, wanted: Wanted) -> str:
        """Have a job succeed."""
        meta = self.flyte.create(self._request(wanted))
        self._wait(lambda: self._phase(wanted, meta) in TERMINAL, lambda: self.flyte.get(wanted.task_type, meta))
        resource = self.flyte.get(wanted.task_type, meta)
        assert resource.phase == Phase.SUCCEEDED, resource
        return HALF

    def do(self, wanted: Wanted) -> str:
        """Have a synchronous task succeed."""
        request = self._request(wanted)
        header = agent_pb2.CreateRequestHeader(template=request.template, output_prefix=request.output_prefix)
        messages = [
            agent_pb2.ExecuteTaskSyncRequest(header=header),
            agent_pb2.ExecuteTaskSyncRequest(inputs=request.inputs),
        ]
        (answer,) = self.flyte.execute(messages)
        resource = answer.header.resource
        assert resource.phase == Phase.SUCCEEDED, resource
        return DO

    def _phase(self, wanted: Wanted, meta: bytes) -> int:
        phase: int = self.flyte.get(wanted.task_type, meta).phase
        return phase

    def _request(self, wanted: Wanted) -> Any:
        request = create_request(wanted.task_type, wanted.custom)
        request.output_prefix = f"{self.folder}/{request.output_prefix.removeprefix('s3://')}/0"
        request.inputs.SetInParent()  # as propeller does, whether there are any or not
        for name, value in wanted.inputs.items():
            request.inputs.literals[name].scalar.primitive.string_value = value
            request.template.interface.inputs.variables[name].type.simple = types_pb2.STRING
        template = request.template
        template.id.name = wanted.name
        template.metadata.runtime.version = "1.16"
        template.container.image = "image:1"
        template.container.args.extend(wanted.args)
        template.config.update(wanted.config)
        if wanted.sql:
            template.sql.statement = wanted.sql
        return request

    def _wait(self, condition: Any, what: Any) -> None:
        """Wait for what other processes do, so long."""
        begun = time.monotonic()
        while not condition():
            assert time.monotonic() - begun < PATIENCE, what()


def _next_job(record: list[str]) -> int:
    """Return the number that the next job gets."""
    return 1 + sum(line.startswith("create") for line in record)


def listed(flyte: Flyte) -> set[str]:
    """Return the task types that a server lists."""
    agents = flyte.metadata.ListAgents(agent_pb2.ListAgentsRequest(), timeout=PATIENCE).agents
    return {category.name for agent in agents for category in agent.supported_task_categories}


def failures(log: str) -> list[dict[str, Any]]:
    """Return what a log says of things of flytekit's that were not loaded, or are not served."""
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"].startswith("a flytekit ") and line["level"] == "warning"]
