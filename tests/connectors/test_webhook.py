"""The webhook connector against a real HTTP server on loopback."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from flytower.connectors import Bound, InvalidRequest, TaskExecution, TaskTemplate
from flytower.connectors.webhook import WebhookConnector
from flytower.connectors.webhook_http import RESPONSE_LIMIT
from flytower.connectors.webhook_request import TIMEOUT_LIMIT, request_of
from flytower.protocol.codec import dict_to_struct
from flytower.protocol.generated.flyteidl.core import Literal, LiteralMap
from flytower.protocol.literals import File, from_literal_map, to_literal_map
from tests.connectors.http_server import HttpServer, Received, Reply, answering, say_hello

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from flytower.protocol.generated.flyteidl.admin import Resource

SECRET = "s3cr3t-t0ken"  # noqa: S105 - the one that must be seen nowhere


@pytest.fixture
async def server() -> AsyncIterator[HttpServer]:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    made = HttpServer(listeners[0].socket.getsockname()[1], say_hello)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, made.serve, listeners)
        yield made
        nursery.cancel_scope.cancel()


async def call(inputs: dict[str, Any] | None = None, /, **custom: Any) -> Resource:
    template = TaskTemplate(type="webhook", custom=dict_to_struct(custom))
    literals = to_literal_map(inputs) if inputs is not None else None
    return await Bound(WebhookConnector()).do(template, "s3://out", literals)


def info(resource: Resource) -> dict[str, Any]:
    assert resource.phase is TaskExecution.SUCCEEDED, resource.message
    assert resource.outputs is not None
    found = from_literal_map(resource.outputs)["info"]
    assert isinstance(found, dict)
    return found


# ---- as with flytekit -----------------------------------------------------------------------------------------


async def test_a_post_sends_the_data_as_json(server: HttpServer) -> None:
    resource = await call(
        url=f"{server.url}/hook", method="POST", headers={"X-Key": "k"}, data={"n": 5, "a": [1.5, None]}
    )
    assert resource.message == "Webhook was successfully invoked!"
    assert info(resource) == {"status_code": 200, "response_data": "hello"}
    (request,) = server.received
    assert (request.method, request.target, request.headers["x-key"]) == ("POST", "/hook", "k")
    assert request.headers["content-type"] == "application/json"
    assert json.loads(request.body) == {"n": 5, "a": [1.5, None]}
    assert b"5.0" not in request.body  # a Struct has doubles only; whole numbers were whole


async def test_a_get_sends_the_data_as_the_query(server: HttpServer) -> None:
    info(await call(url=f"{server.url}/items", method="get", data={"q": "a b&c", "n": 5}))
    (request,) = server.received
    assert request.method == "GET"
    assert parse_qs(urlsplit(request.target).query) == {"q": ["a b&c"], "n": ["5"]}
    assert request.body == b""


async def test_a_method_that_is_not_given_is_post(server: HttpServer) -> None:
    info(await call(url=server.url))
    assert server.received[0].method == "POST"


async def test_the_result_shows_data_and_url_on_demand_only(server: HttpServer) -> None:
    asked = {"url": f"{server.url}/x", "data": {"a": 1}}
    assert set(info(await call(**asked))) == {"status_code", "response_data"}
    shown = info(await call(**asked, show_data=True, show_url=True))
    assert shown["input_data"] == {"a": 1}
    assert shown["url"] == f"{server.url}/x"


async def test_the_output_is_an_untyped_dictionary_as_flytekits_is(server: HttpServer) -> None:
    """`info` is declared as a dict, which is a msgpack binary on the wire; a literal map would not fit its type."""
    resource = await call(url=server.url)
    assert resource.outputs is not None
    scalar = resource.outputs.literals["info"].scalar
    assert scalar is not None
    assert scalar.binary is not None
    assert scalar.binary.tag == "msgpack"


async def test_inputs_fill_the_placeholders_everywhere(server: HttpServer) -> None:
    inputs = {"id": 7, "text": "hé {inputs.id}", "file": File("s3://b/k"), "rows": [1, 2], "deep": {"a": "x"}}
    await call(
        inputs,
        url=server.url + "/items/{inputs.id}",
        headers={"X-Deep": "{inputs.deep.a}-{inputs.id}"},
        data={
            "q": ["{inputs.text}!", "{inputs.rows}"],
            "where": "{inputs.file}",
            "id": "{inputs.id}",
            "not": "{plain}",
        },
    )
    (request,) = server.received
    assert (request.target, request.headers["x-deep"]) == ("/items/7", "x-7")
    assert json.loads(request.body) == {
        "q": ["hé {inputs.id}!", [1, 2]],  # what an input says is never filled in again
        "where": "s3://b/k",
        "id": 7,
        "not": "{plain}",
    }


async def test_inputs_of_every_type_become_text(server: HttpServer) -> None:
    inputs = {
        "when": dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
        "lasts": dt.timedelta(seconds=90),
        "raw": b"ab",
        "many": [File("s3://b/k")],
        "none": None,
    }
    await call(inputs, url=server.url, data={name: f"{{inputs.{name}}}" for name in inputs})
    assert json.loads(server.received[0].body) == {
        "when": "2026-01-02T00:00:00+00:00",
        "lasts": 90.0,
        "raw": "ab",
        "many": ["s3://b/k"],
        "none": None,
    }


async def test_an_input_that_cannot_be_read_fails_the_task(server: HttpServer) -> None:
    template = TaskTemplate(custom=dict_to_struct({"url": server.url}))
    broken = LiteralMap(literals={"x": Literal()})
    resource = await Bound(WebhookConnector()).do(template, "", broken)
    assert resource.message.startswith("an input cannot be read: x")


async def test_an_input_that_is_not_there_fails_the_task_without_a_request(server: HttpServer) -> None:
    resource = await call({"a": SECRET}, url=server.url + "/{inputs.b}")
    assert resource.phase is TaskExecution.FAILED
    assert "Could not find the key b" in resource.message
    assert SECRET not in resource.message
    assert not server.received


@pytest.mark.parametrize("status", [201, 204, 301, 400, 401, 429, 500, 503])
async def test_any_status_but_200_fails_the_task(server: HttpServer, status: int) -> None:
    server.reply = answering(status, b"" if status == 204 else b"because")
    resource = await call(url=server.url)
    assert resource.phase is TaskExecution.FAILED
    assert resource.message.startswith(f"Webhook failed with status code {status}, response: ")
    assert resource.outputs is None


# ---- limits ---------------------------------------------------------------------------------------------------


async def test_a_redirect_is_not_followed(server: HttpServer) -> None:
    server.reply = answering(302, b"", Location=f"{server.url}/elsewhere")
    assert "302" in (await call(url=server.url, headers={"Authorization": SECRET})).message
    assert len(server.received) == 1


async def test_a_host_that_does_not_answer_fails_the_task_in_time(server: HttpServer) -> None:
    async def hangs(_request: Received) -> Reply:
        await trio.sleep_forever()
        raise AssertionError

    server.reply = hangs
    resource = await call(url=server.url, timeout_sec=0.1)
    assert resource.phase is TaskExecution.FAILED
    assert "0.1 s" in resource.message or "in time" in resource.message


async def test_a_response_up_to_the_limit_is_taken_and_a_longer_one_is_not(server: HttpServer) -> None:
    server.reply = answering(200, b"x" * RESPONSE_LIMIT)
    assert len(info(await call(url=server.url))["response_data"]) == RESPONSE_LIMIT
    server.reply = answering(200, b"x" * (RESPONSE_LIMIT + 1))
    resource = await call(url=server.url)
    assert (resource.phase, resource.message) == (
        TaskExecution.FAILED,
        f"Webhook failed: the response is longer than {RESPONSE_LIMIT} bytes",
    )


async def test_a_response_without_end_is_left_at_the_limit() -> None:
    async def talk(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
        with contextlib.suppress(trio.BrokenResourceError):
            while True:
                await stream.send_all(b"x" * 65536)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, talk, listeners)
        resource = await call(url=f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}", timeout_sec=20)
        nursery.cancel_scope.cancel()
    assert "the response is longer than" in resource.message


async def test_a_compressed_bomb_is_not_unpacked(server: HttpServer) -> None:
    """It is asked for plain bytes, and what comes is never decompressed."""
    import gzip  # noqa: PLC0415

    server.reply = answering(200, gzip.compress(b"x" * 50_000_000), Content_Encoding="gzip")
    assert len(info(await call(url=server.url, headers={"Accept-Encoding": "gzip"}))["response_data"]) < 100_000
    assert server.received[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("content_type", "content", "text"),
    [
        ("text/plain", "é".encode(), "é"),
        ("text/plain; charset=latin-1", b"\xe9", "é"),
        ("text/plain; charset=no-such", "é".encode(), "é"),
        ("text/plain; charset=hex", b"61", "61"),
        ("application/octet-stream", b"\xff\x00", "�\0"),
    ],
)
async def test_any_bytes_become_text(server: HttpServer, content_type: str, content: bytes, text: str) -> None:
    server.reply = answering(200, content, Content_Type=content_type)
    assert info(await call(url=server.url))["response_data"] == text


async def test_a_long_error_page_is_cut(server: HttpServer) -> None:
    server.reply = answering(500, b"x" * 100_000)
    assert len((await call(url=server.url)).message) < 1_200


async def test_a_host_that_is_not_there_fails_the_task(server: HttpServer) -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    resource = await call(url=f"http://127.0.0.1:{port}/{SECRET}")
    assert (resource.phase, resource.message) == (TaskExecution.FAILED, "Webhook failed: the host cannot be reached")


async def test_a_host_that_speaks_no_http_fails_the_task() -> None:
    async def talk(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"SSH-2.0-OpenSSH\r\n\r\n")
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, talk, listeners)
        resource = await call(url=f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}")
        nursery.cancel_scope.cancel()
    assert resource.message == "Webhook failed: the host does not speak HTTP as it should"


# ---- secrets --------------------------------------------------------------------------------------------------


async def test_a_secret_that_the_host_sends_back_is_not_in_the_message(server: HttpServer) -> None:
    async def echo(request: Received) -> Reply:
        return 403, {}, json.dumps({"headers": request.headers, "target": request.target}).encode()

    server.reply = echo
    resource = await call(
        url=f"{server.url}/hooks/{SECRET}-path",
        headers={"Authorization": f"Bearer {SECRET}", "X-Odd": f'"{SECRET}'},
    )
    assert "403" in resource.message
    assert SECRET not in resource.message.replace(f"/hooks/{SECRET}-path", "")


@pytest.mark.parametrize("value", [f"{SECRET}\n", f"{SECRET}é", f"{SECRET}\0"])
async def test_a_header_that_cannot_be_sent_is_not_in_the_message(server: HttpServer, value: str) -> None:
    resource = await call(url=server.url, headers={"Authorization": value})
    assert resource.phase is TaskExecution.FAILED
    assert SECRET not in resource.message
    assert not server.received


async def test_nothing_of_a_request_is_logged(server: HttpServer, caplog: pytest.LogCaptureFixture) -> None:
    """Httpx logs URLs and httpcore headers, whatever level the server's own logs have."""
    with caplog.at_level(logging.DEBUG):
        await call(url=f"{server.url}/{SECRET}", headers={"Authorization": SECRET}, data={"key": SECRET})
    assert SECRET not in caplog.text
    request = request_of(
        TaskTemplate(custom=dict_to_struct({"url": f"http://x/{SECRET}", "headers": {"K": SECRET}})), None
    )
    assert SECRET not in repr(request)


# ---- what cannot be asked -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"url": None}, "url"),
        ({"url": "ftp://x"}, "url"),
        ({"url": "file:///etc/passwd"}, "url"),
        ({"url": "http://"}, "url"),
        ({"url": "http://[x"}, "url"),
        ({"url": 5}, "url"),
        ({"method": "DELETE"}, "method"),
        ({"headers": ["x"]}, "headers"),
        ({"timeout_sec": 0}, "timeout_sec"),
        ({"timeout_sec": "10"}, "timeout_sec"),
        ({"timeout_sec": True}, "timeout_sec"),
    ],
)
async def test_a_config_that_is_none_fails_the_task_and_says_which_key(changes: dict[str, Any], problem: str) -> None:
    resource = await call(**{"url": "http://127.0.0.1:9", **changes})
    assert resource.phase is TaskExecution.FAILED
    assert resource.message.startswith(problem)


@pytest.mark.parametrize(("given_seconds", "taken"), [(5, 5.0), (0.5, 0.5), (None, 10.0), (3600, TIMEOUT_LIMIT)])
def test_the_timeout_is_bounded_and_has_flytekits_default(given_seconds: float | None, taken: float) -> None:
    for key in ("timeout_sec", "timeout"):
        template = TaskTemplate(custom=dict_to_struct({"url": "http://x", key: given_seconds}))
        assert request_of(template, None).timeout == taken


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1000, 1000)
    | st.text(max_size=10)
    | st.just("{inputs.x}")
    | st.just("http://h"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KEYS = st.sampled_from(["url", "method", "headers", "data", "timeout_sec", "show_data", "show_url", "other"])


@given(st.dictionaries(KEYS, JSON))
def test_any_config_is_a_request_or_is_refused(custom: dict[str, Any]) -> None:
    template = TaskTemplate(custom=dict_to_struct(custom))
    with contextlib.suppress(InvalidRequest):
        request_of(template, to_literal_map({"x": "value"}))


async def test_a_task_without_a_config_is_failed() -> None:
    resource = await Bound(WebhookConnector()).do(TaskTemplate(type="webhook"), "", LiteralMap())
    assert resource.phase is TaskExecution.FAILED
