"""How a server is told to stop: what the signals come to, and that nothing of it stays behind."""

from __future__ import annotations

import signal

import trio

from flytower.cli.stopping import HURRY_SECONDS, LATE, SIGNALS, Countdown, Stopping


def test_the_grace_is_counted_from_the_first_signal() -> None:
    countdown = Countdown(25.0)
    assert (countdown.end, countdown.left(100.0)) == (None, 25.0)
    countdown.hear(signal.SIGTERM, 100.0)
    assert [countdown.left(now) for now in (100.0, 110.0, 130.0)] == [25.0, 15.0, 0.0]
    assert countdown.code == LATE


def test_a_second_signal_shortens_it_and_is_what_the_exit_code_tells_and_more_change_nothing() -> None:
    countdown = Countdown(25.0)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        countdown.hear(number, 100.0)
    assert countdown.left(100.0) == HURRY_SECONDS
    assert countdown.code == 128 + signal.SIGINT


def test_a_second_signal_near_the_end_of_the_grace_does_not_lengthen_it() -> None:
    countdown = Countdown(25.0)
    countdown.hear(signal.SIGTERM, 100.0)
    countdown.hear(signal.SIGTERM, 124.5)
    assert countdown.left(124.5) == 0.5


async def test_signals_mean_afterwards_what_they_meant_before() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    wakeup = wakeup_fd()
    with Stopping(25.0).listening(trio.CancelScope()):
        assert all(signal.getsignal(number) not in before for number in SIGNALS)
        assert wakeup_fd() != wakeup
    assert [signal.getsignal(number) for number in SIGNALS] == before
    assert wakeup_fd() == wakeup


def wakeup_fd() -> int:
    fd = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(fd, warn_on_full_buffer=False)
    return fd
