"""Load from a process of its own, on gRPC's C core: `python -m peers.load` reads what to do from stdin, as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import grpc.aio


async def run(target: str, path: str, payloads: list[bytes], in_flight: int, seconds: float) -> dict[str, Any]:
    """Keep calls in flight for a time; each caller goes through the payloads from a place of its own."""
    took: list[float] = []
    errors = 0
    async with grpc.aio.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)]) as channel:
        method = channel.unary_unary(path)
        end = time.perf_counter() + seconds

        async def caller(number: int) -> None:
            nonlocal errors
            turn = number
            while (begun := time.perf_counter()) < end:
                try:
                    await method(payloads[turn % len(payloads)], timeout=30)
                except grpc.aio.AioRpcError:
                    errors += 1
                took.append(time.perf_counter() - begun)
                turn += in_flight

        await asyncio.gather(*(caller(number) for number in range(in_flight)))
    took.sort()
    return {
        "calls": len(took),
        "errors": errors,
        "p50": took[len(took) // 2] if took else 0.0,
        "p99": took[int(0.99 * (len(took) - 1))] if took else 0.0,
    }


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    asked["payloads"] = [bytes.fromhex(payload) for payload in asked["payloads"]]
    print(json.dumps(asyncio.run(run(**asked))))
