"""Methods of every kind are called, and nothing but a value, a cancellation or an Exception comes out."""

from __future__ import annotations

import asyncio
import functools
import threading
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.lowlevel
import trio.testing
import trio_asyncio

from flytower.connectors import ConnectorError, ConnectorExited, Flavour, JobNotFound, WrongFlavour
from flytower.connectors.flavour import Method, flavour_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


def method(function: Callable[..., Any], declared: Flavour = Flavour.TRIO, threads: int = 4) -> Method:
    return Method("get of X", function, flavour_of(function, declared), declared, trio.CapacityLimiter(threads))


@pytest.fixture
async def asyncio_loop() -> AsyncIterator[None]:
    async with trio_asyncio.open_loop() as loop:
        loop.set_exception_handler(lambda *_: None)
        yield


async def cancel_while_it_waits(one: Method) -> bool:
    """Call a method, cancel the call once nothing moves any more, and say whether the cancellation came out."""
    scopes: list[trio.CancelScope] = []

    async def call() -> None:
        with trio.CancelScope() as scope:
            scopes.append(scope)
            await one()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await trio.testing.wait_all_tasks_blocked()
        scopes[0].cancel()
    return scopes[0].cancelled_caught


def plain(value: Any, *, more: int = 0) -> Any:
    return value, more, threading.current_thread() is threading.main_thread()


async def on_trio(value: Any, *, more: int = 0) -> Any:
    await trio.lowlevel.checkpoint()
    return value, more


async def on_asyncio(value: Any, *, more: int = 0) -> Any:
    await asyncio.sleep(0)
    return value, more


class AwaitableObject:
    async def __call__(self, value: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return value


# ---- every kind of method -------------------------------------------------------------------------------------


async def test_a_plain_function_runs_in_a_thread() -> None:
    assert await method(plain)(1, more=2) == (1, 2, False)


async def test_a_trio_coroutine_runs_as_it_is() -> None:
    assert await method(on_trio)(1, more=2) == (1, 2)


async def test_an_asyncio_coroutine_runs_on_the_asyncio_loop(asyncio_loop: None) -> None:
    assert await method(on_asyncio, Flavour.ASYNCIO)(1, more=2) == (1, 2)


async def test_a_partial_a_callable_object_and_a_decorated_coroutine_are_awaited() -> None:
    @functools.wraps(on_trio)
    def decorated(value: Any) -> Any:
        return on_trio(value)

    assert await method(functools.partial(on_trio, more=5))(1) == (1, 5)
    assert await method(AwaitableObject())(1) == 1
    assert await method(decorated)(1) == (1, 0)
    assert await method(lambda value, more=3: on_trio(value, more=more))(1) == (1, 3)


async def test_a_decorated_asyncio_coroutine_is_awaited_on_asyncio(asyncio_loop: None) -> None:
    assert await method(lambda value, more=3: on_asyncio(value, more=more), Flavour.ASYNCIO)(1) == (1, 3)


def test_the_flavour_is_known_without_a_call() -> None:
    assert flavour_of(plain, Flavour.ASYNCIO) is Flavour.THREAD
    assert flavour_of(on_trio, Flavour.TRIO) is Flavour.TRIO
    assert flavour_of(on_trio, Flavour.ASYNCIO) is Flavour.ASYNCIO
    assert flavour_of(functools.partial(on_trio), Flavour.TRIO) is Flavour.TRIO
    assert flavour_of(AwaitableObject(), Flavour.TRIO) is Flavour.TRIO


# ---- the wrong loop -------------------------------------------------------------------------------------------


async def test_an_asyncio_coroutine_that_is_not_declared_is_told_what_to_declare() -> None:
    with pytest.raises(WrongFlavour, match=r"get of X awaits asyncio.*flavour = Flavour.ASYNCIO"):
        await method(on_asyncio)(1)


async def test_it_is_told_the_same_while_an_asyncio_loop_runs(asyncio_loop: None) -> None:
    async def sleeps() -> None:
        await asyncio.sleep(0.01)

    async def times_out() -> None:
        async with asyncio.timeout(1):
            await asyncio.sleep(0.01)

    for function in (sleeps, times_out):
        with pytest.raises(WrongFlavour, match=r"flavour = Flavour.ASYNCIO"):
            await method(function)()


async def test_a_trio_coroutine_declared_for_asyncio_is_told_what_to_declare(asyncio_loop: None) -> None:
    async def sleeps() -> None:
        await trio.sleep(0.01)

    with pytest.raises(WrongFlavour, match=r"flavour = Flavour.TRIO"):
        await method(sleeps, Flavour.ASYNCIO)()


async def test_an_asyncio_coroutine_needs_a_loop() -> None:
    with pytest.raises(WrongFlavour, match="open_loop"):
        await method(on_asyncio, Flavour.ASYNCIO)(1)


async def test_an_ordinary_type_error_stays_what_it_is() -> None:
    with pytest.raises(TypeError, match="missing 1 required"):
        await method(on_trio)()


# ---- what is raised -------------------------------------------------------------------------------------------

WORSE = [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), BaseException("odd")]


@pytest.mark.parametrize("error", WORSE)
async def test_what_is_no_exception_becomes_one(error: BaseException, asyncio_loop: None) -> None:
    def raises() -> None:
        raise error

    async def raises_too() -> None:
        raise error

    async def raises_later() -> None:
        await trio.lowlevel.checkpoint()
        raise error

    async def raises_on_asyncio() -> None:
        await asyncio.sleep(0)
        raise error

    for one in (method(raises), method(raises_too), method(raises_later), method(raises_on_asyncio, Flavour.ASYNCIO)):
        with pytest.raises(ConnectorExited, match="get of X raised") as caught:
            await one()
        assert type(error).__name__ in str(caught.value)


async def test_an_asyncio_coroutine_that_cancels_itself_has_failed(asyncio_loop: None) -> None:
    async def cancels() -> None:
        raise asyncio.CancelledError

    with pytest.raises(ConnectorExited, match="CancelledError"):
        await method(cancels, Flavour.ASYNCIO)()


async def test_a_stop_iteration_becomes_an_exception_that_coroutines_can_carry() -> None:
    def stops() -> None:
        raise StopIteration

    with pytest.raises(RuntimeError):
        await method(stops)()


async def test_an_exception_comes_out_of_the_nursery_that_it_was_raised_in() -> None:
    async def fails(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        raise JobNotFound("gone")

    async def gets() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(fails)

    with pytest.raises(JobNotFound, match="gone"):
        await method(gets)()


async def test_several_exceptions_become_one_that_names_them() -> None:
    async def gets() -> None:
        raise ExceptionGroup("several", [ValueError("a"), ExceptionGroup("more", [KeyError("b")])])

    with pytest.raises(ConnectorError, match="ValueError: a; KeyError: 'b'"):
        await method(gets)()


async def test_a_system_exit_in_a_nursery_of_the_authors_is_contained() -> None:
    async def exits() -> None:
        raise SystemExit(1)

    async def gets() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(exits)

    with pytest.raises(ConnectorExited):
        await method(gets)()


# ---- cancellation ---------------------------------------------------------------------------------------------


async def test_cancelling_a_coroutine_cancels_it(asyncio_loop: None) -> None:
    seen = []

    async def waits() -> None:
        try:
            await trio.sleep_forever()
        finally:
            seen.append("trio")

    async def waits_on_asyncio() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            seen.append("asyncio")

    for one in (method(waits), method(waits_on_asyncio, Flavour.ASYNCIO)):
        assert await cancel_while_it_waits(one)
    assert seen == ["trio", "asyncio"]


async def test_a_cancellation_wins_over_what_user_code_makes_of_it(asyncio_loop: None) -> None:
    async def translates() -> None:
        try:
            await trio.sleep_forever()
        except BaseException as error:
            raise ValueError("it broke") from error

    async def exits() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise SystemExit(1)

    async def translates_on_asyncio() -> None:
        try:
            await asyncio.sleep(1000)
        except BaseException as error:
            raise ValueError("it broke") from error

    for one in (method(translates), method(exits), method(translates_on_asyncio, Flavour.ASYNCIO)):
        assert await cancel_while_it_waits(one)


async def test_a_value_that_was_had_in_spite_of_a_cancellation_is_not_lost() -> None:
    """The job of a create that finished is there; forgetting its id would leak it."""

    async def creates() -> str:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            return "job-1"
        return ""

    with trio.CancelScope() as scope:
        scope.cancel()
        value = await method(creates)()
    assert value == "job-1"


async def test_a_thread_that_hangs_is_left_and_keeps_its_place() -> None:
    """Otherwise a hanging system would take one more thread with each call."""
    gate = threading.Event()
    hangs = method(gate.wait, threads=1)
    try:
        assert await cancel_while_it_waits(hangs)
        assert hangs.limiter.borrowed_tokens == 1
        assert await cancel_while_it_waits(hangs)
    finally:
        gate.set()
    while hangs.limiter.borrowed_tokens:
        await trio.lowlevel.checkpoint()
