"""The fault campaigns: what is lost, doubled or forgotten when everything breaks.

Run with `python benchmarks/faults.py [NAME...]`.

Each campaign runs a real server in a process of its own, against an external system in another one, whose append-only
record decides. `--small` runs the sizes of the test suite. The seed is printed; `--seed` repeats a run.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, NamedTuple

from campaigns import answers, damage, deploys, kills, outage
from flytower.actors.node import DEFAULT_GRACE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WORLDS = 3
"""Campaigns of kills that run side by side: each waits more than it computes."""


class Line(NamedTuple):
    """A line of the table.

    Args:
        what: What was done.
        figure: What came of it.
        wanted: What had to.
        held: Whether it did.
    """

    what: str
    figure: str
    wanted: str
    held: bool


def kill_lines(seed: int, *, small: bool) -> Iterator[Line]:
    """Kill -9 around each durable step."""
    found = kills.run_many(42 if small else 500, seed, WORLDS)
    what = f"kill -9 at each point around the durable steps, {found.kills} kills"
    verdict = found.verdict
    figure = f"lost {verdict.lost}, doubled {verdict.doubled}, reported unknown {verdict.reported}"
    yield Line(what, figure, "lost 0, doubled 0", verdict.lost == verdict.doubled == 0)
    count = 5 if small else 50
    lost = answers.lost_answers(count)
    figure = f"lost {lost.lost}, doubled {lost.doubled}, reported unknown {lost.reported} (of {count} without recovery)"
    yield Line(
        f"created, and the answer lost: {3 * count} creates",
        figure,
        "lost 0, doubled 0",
        lost.lost == lost.doubled == 0,
    )


def same_key_lines(_seed: int, *, small: bool) -> Iterator[Line]:
    """Many CreateTasks of one key."""
    rounds = 5 if small else 100
    found = answers.same_key(rounds, 200)
    figure = f"{found.creates / rounds:g} creates, {found.metas / rounds:g} metas per key; failed calls {found.failed}"
    held = found.creates == found.metas == rounds and not found.failed
    yield Line(f"200 concurrent CreateTasks of one key, {rounds} rounds", figure, "1 create, 1 meta", held)


def deadline_lines(seed: int, *, small: bool) -> Iterator[Line]:
    """Creates that take longer than their callers wait."""
    found = answers.deadlines(*((40, 2.0) if small else (500, 6.0)), 1.0, seed)
    what = f"deadline 1 s, creates of 0 to {2 if small else 6} s, {found.tasks} tasks"
    figure = (
        f"orphans {found.orphans}, deleted by mistake {found.wrongly_deleted} "
        f"({found.provisional} provisional answers, {found.attempts} attempts)"
    )
    yield Line(what, figure, "0, 0", found.orphans == found.wrongly_deleted == 0)


def delete_lines(_seed: int, *, small: bool) -> Iterator[Line]:
    """Deletes that were acknowledged."""
    tasks = 10 if small else 100
    found = answers.deletes(tasks, 20, 3)
    took = f"DeleteTask p99 {1e3 * found.p99:.1f} ms = {found.p99 / found.commit:.1f} commits"
    figure = f"gone {found.gone / tasks:.0%}; {took}"
    what = f"{tasks} acknowledged DeleteTasks, each external delete failing 20 times, 3 restarts"
    yield Line(what, figure, "gone 100%", found.gone == tasks)


def outage_lines(_seed: int, *, small: bool) -> Iterator[Line]:
    """An hour without answers."""
    for weather in outage.WEATHERS:
        found = outage.outage(weather, 10 if small else 100)
        figure = (
            f"errors {found.errors} of {found.reads} reads, too soon {found.too_soon}, "
            f"{found.calls} calls, recovered after {found.recovered:.0f} s"
        )
        held = not found.errors and not found.too_soon and found.recovered <= found.bound
        yield Line(f"an hour of {weather} (virtual time)", figure, f"0, 0, within {found.bound:.0f} s", held)


def restart_lines(_seed: int, *, small: bool) -> Iterator[Line]:
    """A server that begins with many tasks."""
    found = deploys.restart(1_000 if small else 10_000)
    figure = (
        f"ready {found.ready:.2f} s (empty: {found.empty:.2f}), all owned {found.owned:.2f} s "
        f"= {(found.owned - found.empty) / found.reading:.1f} x reading the rows; {found.kib:.1f} KiB per task"
    )
    yield Line(f"restart with {found.tasks:,} live tasks", figure, "all owned", found.owned > 0)


def drain_lines(_seed: int, *, small: bool) -> Iterator[Line]:
    """SIGTERM in the middle of creates."""
    found = deploys.drain(*((2, 100, 1.0) if small else (100, 100, 2.0)))
    figure = (
        f"cut {found.cut}, deletes {found.deletes}, bad exits {found.bad_exits}, "
        f"slowest end {found.slowest:.1f} s after the signal"
    )
    held = found.cut == found.deletes == found.bad_exits == 0 and found.slowest < DEFAULT_GRACE
    wanted = f"0, 0, 0, below {DEFAULT_GRACE:.0f} s"
    yield Line(f"SIGTERM under 100 creates in flight, {found.runs} runs", figure, wanted, held)


def damage_lines(_seed: int, *, small: bool) -> Iterator[Line]:
    """A damaged ledger."""
    for what, found in (
        ("SQLite's log cut in its last transactions", damage.cut(29 if small else 1)),
        ("each byte before them flipped", damage.flip(97 if small else 1)),
        ("each byte of the closed file flipped", damage.flip_file(97 if small else 1)),
    ):
        figure = f"{found.files} files: {found.opened} opened with all, {found.refused} refused, {found.wrong} wrong"
        yield Line(what, figure, "0 wrong", not found.wrong)


CAMPAIGNS: dict[str, Callable[..., Iterator[Line]]] = {
    "kills": kill_lines,
    "same-key": same_key_lines,
    "deadlines": deadline_lines,
    "deletes": delete_lines,
    "outage": outage_lines,
    "restart": restart_lines,
    "drain": drain_lines,
    "damage": damage_lines,
}


def main() -> int:
    """Run campaigns, and print what came of each as soon as it is over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CAMPAIGNS)}; all by default")
    parser.add_argument("--small", action="store_true", help="the sizes of the test suite")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(CAMPAIGNS)
    if unknown:
        parser.error(f"there is no campaign {', '.join(sorted(unknown))}")
    print(f"seed {arguments.seed}\n\n| campaign | what came of it | wanted | held |\n|---|---|---|---|")
    held = True
    for name in arguments.names or CAMPAIGNS:
        for line in CAMPAIGNS[name](arguments.seed, small=arguments.small):
            print(f"| {line.what} | {line.figure} | {line.wanted} | {'yes' if line.held else 'NO'} |", flush=True)
            held = held and line.held
    return 0 if held else 1


if __name__ == "__main__":
    raise SystemExit(main())
