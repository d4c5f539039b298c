"""Three connectors to the external system: one repeats a create, one finds what became of it, one can do neither.

Written as any author would, but for `die_at`: it ends the server at a point that only a connector knows.
"""

from __future__ import annotations

import os
from typing import Any

import httpx

import flytower
from campaigns.points import die_at
from flytower.protocol.codec import struct_to_dict

URL = os.environ.get("CAMPAIGN_EXTERNAL", "")

FIGURES: dict[str, Any] = {
    "poll_minimum": 0.2,
    "poll_maximum": float(os.environ.get("CAMPAIGN_POLL_MAXIMUM", "1.0")),
    "not_found_grace": 0.0,
    "delete_minimum": 0.02,
    "delete_maximum": 0.2,
    "breaker_seconds": 0.05,  # the delete of each job fails many times, and nobody wants to wait for hours
    "concurrency": 256,
}


class JobMeta(flytower.ResourceMeta):
    """What names a job."""

    job: str


class TokenConnector(flytower.AsyncConnectorBase):
    """Its external system honours idempotency keys."""

    name = "Campaign token"
    task_type = "campaign_token"
    policy = flytower.Policy(recovery=flytower.Recovery.TOKEN, **FIGURES)
    honoured = True

    def __init__(self) -> None:
        super().__init__(task_type_name=self.task_type, metadata_type=JobMeta)
        self._client = httpx.AsyncClient(base_url=URL, timeout=30.0, trust_env=False, limits=httpx.Limits())

    async def create(
        self,
        task_template: flytower.TaskTemplate,
        output_prefix: str,
        inputs: flytower.LiteralMap | None,
        task_execution_metadata: flytower.TaskExecutionMetadata | None,
        *,
        idempotency_key: str = "",
        **kwargs: Any,
    ) -> JobMeta:
        """Begin a job."""
        custom = struct_to_dict(task_template.custom) if task_template.custom else {}
        die_at("before call", self.task_type)
        answer = await self._client.post("/jobs", json={**custom, "key": idempotency_key, "honoured": self.honoured})
        answer.raise_for_status()
        die_at("after call", self.task_type)
        return JobMeta(job=answer.json()["job"])

    async def get(self, resource_meta: JobMeta, **kwargs: Any) -> flytower.Resource:
        """Say how a job is."""
        answer = await self._client.get(f"/jobs/{resource_meta.job}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise flytower.JobNotFound(f"there is no {resource_meta.job}")
        answer.raise_for_status()
        return flytower.Resource(phase=flytower.TaskExecution.RUNNING, message=answer.json()["state"])

    async def delete(self, resource_meta: JobMeta, **kwargs: Any) -> None:
        """End a job."""
        die_at("before delete", self.task_type)
        answer = await self._client.delete(f"/jobs/{resource_meta.job}")
        answer.raise_for_status()
        die_at("after delete", self.task_type)


class FindConnector(TokenConnector):
    """Its external system can be searched."""

    name = "Campaign find"
    task_type = "campaign_find"
    policy = flytower.Policy(recovery=flytower.Recovery.FIND, **FIGURES)
    honoured = False

    async def find(self, key: str, **kwargs: Any) -> JobMeta | None:
        """Look a job up."""
        answer = await self._client.get("/jobs", params={"key": key})
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        answer.raise_for_status()
        return JobMeta(job=answer.json()["job"])


class NeitherConnector(TokenConnector):
    """Its external system can do neither."""

    name = "Campaign neither"
    task_type = "campaign_neither"
    policy = flytower.Policy(recovery=flytower.Recovery.NEITHER, **FIGURES)
    honoured = False


for _connector in (TokenConnector, FindConnector, NeitherConnector):
    flytower.ConnectorRegistry.register(_connector())
