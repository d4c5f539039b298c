"""What is imported when it is first used."""

from __future__ import annotations

import threading

import trio
import trio.testing

from flytower.actors.later import Later


async def test_it_is_found_at_its_first_use_in_a_thread_and_once() -> None:
    threads: list[threading.Thread] = []

    def find() -> str:
        threads.append(threading.current_thread())
        return "it"

    later = Later(find)
    assert not threads
    assert [await later.get(), await later.get()] == ["it", "it"]
    assert len(threads) == 1
    assert threads != [threading.main_thread()]


async def test_while_it_is_looked_for_others_run() -> None:
    goes_on = threading.Event()

    def find() -> str:
        goes_on.wait()
        return "it"

    async with trio.open_nursery() as nursery:
        nursery.start_soon(Later(find).get)
        await trio.testing.wait_all_tasks_blocked()
        goes_on.set()
