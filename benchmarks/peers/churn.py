"""Tasks that come and go: `python -m peers.churn` reads what to do from stdin, as JSON, and prints what came of it."""

from __future__ import annotations

import asyncio
import json
import sys
import time

import grpc.aio
from flyteidl.admin import agent_pb2
from flyteidl.service import agent_pb2_grpc

from peers.servers import create_request

TIMEOUT = 30


async def run(target: str, task_type: str, prefix: str, rate: float, seconds: float) -> dict[str, float]:
    """Create tasks at a rate, answered or not, and delete each as soon as it is there."""
    took: list[float] = []
    errors = 0

    async def life(number: int) -> None:
        nonlocal errors
        begun = time.perf_counter()
        try:
            made = await tasks.CreateTask(create_request(task_type, f"{prefix}/{number}/0"), timeout=TIMEOUT)
            took.append(time.perf_counter() - begun)
            request = agent_pb2.DeleteTaskRequest(task_type=task_type, resource_meta=made.resource_meta)
            await tasks.DeleteTask(request, timeout=TIMEOUT)
        except grpc.aio.AioRpcError:
            errors += 1

    async with grpc.aio.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)]) as channel:
        tasks = agent_pb2_grpc.AsyncAgentServiceStub(channel)
        begun = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(int(rate * seconds)):
                await asyncio.sleep(begun + number / rate - time.perf_counter())
                group.create_task(life(number))
    took.sort()
    return {"created": len(took), "errors": errors, "p99": took[int(0.99 * (len(took) - 1))]}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(**json.load(sys.stdin)))))
