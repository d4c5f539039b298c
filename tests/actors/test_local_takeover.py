"""flytekit's executor mixins are Flytower's for as long as somebody wants it, and flytekit's before and after."""

from __future__ import annotations

import inspect
import signal
import subprocess
import sys

import pytest
from flytekit.extend.backend.base_connector import AsyncConnectorExecutorMixin, SyncConnectorExecutorMixin

from flytower import run_flytekit_locally

MIXINS = (AsyncConnectorExecutorMixin, SyncConnectorExecutorMixin)

ORIGINALS = [mixin.execute for mixin in MIXINS]

BEFORE = """
import sys
from flytower import run_flytekit_locally
assert not [name for name in sys.modules if name.split(".")[0] == "flytekit"]
sys.modules["flytekit"] = None
run_flytekit_locally()
"""


def are_flytekits() -> bool:
    found = {mixin.execute is original for mixin, original in zip(MIXINS, ORIGINALS, strict=True)}
    assert len(found) == 1, "they are replaced together"
    return found.pop()


def test_to_import_flytower_changes_nothing_of_flytekit() -> None:
    assert {each.__code__.co_filename for each in ORIGINALS} == {inspect.getfile(AsyncConnectorExecutorMixin)}


def test_it_lasts_as_long_as_its_context() -> None:
    with run_flytekit_locally():
        assert not are_flytekits()
        assert [inspect.getdoc(mixin.execute) for mixin in MIXINS] == [inspect.getdoc(each) for each in ORIGINALS]
    assert are_flytekits()


def test_it_is_undone_when_an_exception_leaves_the_context() -> None:
    with pytest.raises(LookupError), run_flytekit_locally():
        raise LookupError
    assert are_flytekits()


def test_it_lasts_until_the_last_who_wanted_it_closes_and_closing_twice_is_no_more() -> None:
    first, second = run_flytekit_locally(), run_flytekit_locally()
    first.close()
    first.close()
    assert not are_flytekits()
    second.close()
    assert are_flytekits()


def test_sigterm_interrupts_meanwhile_and_does_afterwards_what_it_did() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with run_flytekit_locally():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_who_handles_sigterm_goes_on_handling_it() -> None:
    def handle(*_: object) -> None: ...

    before = signal.signal(signal.SIGTERM, handle)
    try:
        with run_flytekit_locally():
            assert signal.getsignal(signal.SIGTERM) is handle
    finally:
        signal.signal(signal.SIGTERM, before)


def test_nothing_of_flytekit_is_imported_before_and_who_has_not_installed_it_is_told_how() -> None:
    done = subprocess.run([sys.executable, "-c", BEFORE], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("flytekit is not installed: pip install 'flytower[flytekit]'")
