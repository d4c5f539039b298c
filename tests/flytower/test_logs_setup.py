"""What a server writes to stderr."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest
import structlog

from flytower.cli.log_setup import configure_logs

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_an_event_is_a_json_line_with_its_facts(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info", "auto")  # pytest's stderr is no terminal
    structlog.get_logger().info("Something happened", count=3, odd=object)
    event = json.loads(capsys.readouterr().err)
    assert event["event"] == "Something happened"
    assert (event["level"], event["count"]) == ("info", 3)
    assert event["timestamp"].endswith("Z")


def test_what_is_less_severe_than_the_level_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("warning", "json")
    structlog.get_logger().info("Not worth a line")
    assert capsys.readouterr().err == ""


def fail(password: str) -> None:
    raise ValueError(f"{len(password)} letters")


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_shows_no_values_of_variables(capsys: pytest.CaptureFixture[str], form: str) -> None:
    configure_logs("debug", form)
    try:
        fail("hunter" + "2")
    except ValueError:
        structlog.get_logger().exception("It failed")
    written = capsys.readouterr().err
    assert "ValueError: 7 letters" in written
    assert "hunter2" not in written


def test_a_librarys_warning_looks_like_our_events(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info", "json")
    logging.getLogger("library").warning("careful %s", "now")
    event = json.loads(capsys.readouterr().err)
    assert (event["event"], event["logger"], event["level"]) == ("careful now", "library", "warning")


def test_headers_and_addresses_that_libraries_log_are_not_written_even_at_debug(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logs("debug", "json")
    logging.getLogger("hpack.hpack").debug("Decoded authorization: secret")
    logging.getLogger("httpx").info("GET https://example.org/?token=secret")
    assert capsys.readouterr().err == ""
