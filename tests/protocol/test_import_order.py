"""From Python 3.12 on, calls fail when grpclib is imported before trio_asyncio. Both orders must work."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

CALL = """
import trio
from grpclib.client import Channel, UnaryUnaryMethod
from flytower.protocol.calls import Unary
from flytower.protocol.generated.grpc.health.v1 import HealthCheckRequest
from flytower.protocol.loop import open_event_loop
from flytower.protocol.server import open_server
import trio_asyncio

class Codec:
    __content_subtype__ = "proto"
    def encode(self, message, message_type): return message
    def decode(self, data, message_type): return data

async def call(address):
    async with Channel(*address, codec=Codec()) as channel:
        return await UnaryUnaryMethod(channel, "/t.T/Echo", bytes, bytes)(b"", timeout=10)

async def main():
    echo = Unary("/t.T/Echo", HealthCheckRequest, lambda request, call: b"answer")
    async with open_event_loop(), open_server([echo]) as server:
        print(await trio_asyncio.aio_as_trio(call)(server.address))

trio.run(main)
"""


@pytest.mark.parametrize(
    "first",
    [
        "import flytower.protocol",
        "import grpclib.client, grpclib.server",
        "import grpclib.utils; import trio_asyncio",
        "import trio_asyncio, grpclib.client",
        "import asyncio, betterproto2",
    ],
)
def test_calls_through_grpclib_work_whatever_was_imported_first(first: Any) -> None:
    done = subprocess.run([sys.executable, "-c", first + CALL], capture_output=True, text=True, timeout=50, check=False)
    assert (done.stdout, done.stderr) == ("b'answer'\n", "")


def test_a_grpclib_that_has_changed_inside_is_refused_with_what_to_do() -> None:
    code = "import grpclib.utils; del grpclib.utils._current_task; import flytower.protocol"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 1
    assert "ImportError: grpclib was imported before flytower" in done.stderr


ASYNCIO = """
import asyncio, threading, trio
import flytower.protocol

def loops():
    loop = asyncio.new_event_loop()
    async def running(): return type(asyncio.get_running_loop()).__module__
    print(type(loop).__module__, asyncio.run(running()), asyncio.get_event_loop_policy() is policy)
    asyncio.set_event_loop_policy(asyncio.get_event_loop_policy())
    loop.close()

async def in_trio():
    asyncio.set_event_loop_policy(asyncio.get_event_loop_policy())
    asyncio.new_event_loop().close()
    print("in trio")

policy = asyncio.get_event_loop_policy()
loops()
thread = threading.Thread(target=loops)
thread.start()
thread.join()
trio.run(in_trio)
"""


def test_asyncio_is_as_it_was_in_every_thread_and_within_trio_where_no_loop_was_opened() -> None:
    """The loop that flytekit keeps in a thread is made when a task first runs, also within trio."""
    done = subprocess.run([sys.executable, "-c", ASYNCIO], capture_output=True, text=True, timeout=50, check=False)
    line = "asyncio.unix_events asyncio.unix_events True\n"
    assert (done.stdout, done.stderr) == (line + line + "in trio\n", "")


IN_A_COROUTINE = """
import asyncio, threading, trio, trio_asyncio
from flytower.protocol.loop import open_event_loop

class Policy(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self):
        print("asked")
        return super().new_event_loop()

async def answer():
    return type(asyncio.get_running_loop()).__module__

async def in_a_thread(loop):
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    print(await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(answer(), loop)))
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()

async def coroutine():
    here = asyncio.get_running_loop()
    await in_a_thread(asyncio.new_event_loop())
    await in_a_thread(asyncio.get_event_loop_policy().new_event_loop())
    print(await asyncio.to_thread(asyncio.run, answer()))
    before = asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(Policy())
    await in_a_thread(asyncio.new_event_loop())
    asyncio.set_event_loop_policy(before)
    await in_a_thread(asyncio.new_event_loop())
    asyncio.set_event_loop_policy(None)
    other = asyncio.new_event_loop()
    asyncio.set_event_loop(other)
    for run in (asyncio.run, other.run_until_complete):
        refused = answer()
        try:
            run(refused)
        except RuntimeError as error:
            print(error)
        refused.close()
    other.close()
    await asyncio.sleep(0)
    assert asyncio.get_running_loop() is asyncio.get_event_loop() is here
    try:
        asyncio.set_event_loop_policy("uvloop")
    except TypeError as error:
        print(error)

async def main():
    async with open_event_loop():
        await trio_asyncio.aio_as_trio(coroutine)()

trio.run(main)
"""


def test_a_coroutine_can_make_loops_and_set_the_policy_as_in_asyncio() -> None:
    """The loops are asyncio's own, and run in threads; the loop that the coroutine runs on stays what it is.

    To run one where another runs already is refused, likewise as in asyncio.
    """
    done = subprocess.run([sys.executable, "-c", IN_A_COROUTINE], capture_output=True, text=True, check=False)
    loop = "asyncio.unix_events"
    running = [
        "asyncio.run() cannot be called from a running event loop",
        "Cannot run the event loop while another loop is running",
    ]
    error = "policy must be an instance of AbstractEventLoopPolicy or None, not 'str'"
    assert done.stdout.splitlines() == [loop, loop, loop, "asked", loop, loop, *running, error]
    assert done.stderr == ""
