"""The life cycle under arbitrary interleavings of calls, outcomes, ledger failures, crashes and time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from flytower.actors.failures import FailureKind
from flytower.connectors.policy import Recovery
from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase
from tests.actors.lifecycle_world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.actors.lifecycle_server import Actor

EFFECTS = ("now", "never", "late")
"""What a call that was given up, or cut off, does in the external system."""

KINDS = (FailureKind.TRANSIENT, FailureKind.LATER, FailureKind.PERMANENT, FailureKind.OVERLOAD)
ENDS = (None, Phase.SUCCEEDED, Phase.FAILED, Phase.RETRYABLE_FAILED)


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    """The ledger complains, as it should."""
    with structlog.testing.capture_logs():
        yield


# Each deed takes a number, which chooses among what there is.


def create(world: World, number: int) -> None:
    world.create(number % 2, fingerprint="g" if number == 7 else "f", patience=8.0 if number & 2 else float("inf"))


def read(world: World, number: int) -> None:
    if world.names:
        world.read(list(world.names)[number % len(world.names)])


def delete(world: World, number: int) -> None:
    if world.names:
        world.delete(list(world.names)[number % len(world.names)])


def delete_at_once(world: World, number: int) -> None:
    """Delete what has no name yet: the last attempt, while it is being created."""
    actors = list(world.actors.values())
    if actors:
        world.delete_actor(actors[number % len(actors)])


def use_a_job_of_another_server(world: World, number: int) -> None:
    (world.delete if number % 2 else world.read)(world.external.foreign())


def succeed(world: World, number: int) -> None:
    for actor in _called(world, number):
        world.succeed(actor, "news" if number == 7 else "")


def fail(world: World, number: int) -> None:
    for actor in _called(world, number):
        world.fail(actor, KINDS[number % 4], 15.0 if number & 4 else 0.0)


def refuse(world: World, number: int) -> None:
    for actor in _called(world, number):
        if actor.call != "create" or number & 1:
            world.fail(actor, (FailureKind.REFUSED, FailureKind.SPARED)[number & 1], 15.0)


def answer_others(world: World, _number: int) -> None:
    for actor in list(world.actors.values()):
        world.call_back(actor)


def lose(world: World, number: int) -> None:
    for actor in _called(world, number // 3):
        world.lose(actor, EFFECTS[number % 3])


def break_off(world: World, number: int) -> None:
    for actor in _called(world, number // 3):
        world.lose(actor, EFFECTS[number % 3], FailureKind.UNCERTAIN)


def forget(world: World, number: int) -> None:
    actors = list(world.actors.values())
    if actors and number == 0:
        world.forget(actors[-1])


def not_listed_yet(world: World, number: int) -> None:
    grace = world.policy.not_found_grace
    for actor in _called(world, number):
        if actor.call == "get" and world.now - actor.since < grace:
            world.fail(actor, FailureKind.GONE)


def job_ends(world: World, number: int) -> None:
    jobs = [job for job in world.external.jobs.values() if job.alive]
    if jobs:
        job = jobs[number % len(jobs)]
        job.alive, job.end = False, ENDS[number % 4]


def commit(world: World, number: int) -> None:
    world.flush(failing=number >= 6, rows=1 if number % 2 else 1000)


def actor_crashes(world: World, number: int) -> None:
    actors = list(world.actors.values())
    if actors:
        world.crash_actor(actors[number % len(actors)], EFFECTS[number % 3])


def server_crashes(world: World, number: int) -> None:
    world.crash_server(EFFECTS[number % 3])


def server_is_restarted(world: World, number: int) -> None:
    world.stop_server(EFFECTS[number % 3])


def time_passes(world: World, number: int) -> None:
    world.advance((0.5, 3.0, 10.0, 10.0, 10.0, 10.0, 30.0, 90.0)[number])


def _called(world: World, number: int) -> list[Actor]:
    """Return one actor with a call under way, or none."""
    calls = world.calls()
    return [calls[number % len(calls)]] if calls else []


DEEDS: dict[Callable[[World, int], None], int] = {
    create: 4,
    read: 2,
    delete: 2,
    delete_at_once: 1,
    use_a_job_of_another_server: 1,
    succeed: 6,
    fail: 2,
    refuse: 2,
    answer_others: 1,
    lose: 3,
    break_off: 2,
    forget: 1,
    not_listed_yet: 1,
    job_ends: 1,
    commit: 6,
    actor_crashes: 1,
    server_crashes: 1,
    server_is_restarted: 1,
    time_passes: 4,
}
"""What can happen, and how often."""

LIVES = st.lists(
    st.tuples(
        st.sampled_from([deed for deed, often in DEEDS.items() for _ in range(often)]),
        st.integers(0, 7),
    ),
    min_size=12,
    max_size=60,
)


@pytest.mark.parametrize("withheld", [False, True])
@pytest.mark.parametrize("delete_after_finish", [False, True])
@pytest.mark.parametrize("recovery", Recovery)
def test_whatever_happens_no_job_is_lost_or_doubled_and_no_call_goes_unanswered(
    recovery: Recovery,
    delete_after_finish: bool,  # noqa: FBT001 - a table
    withheld: bool,  # noqa: FBT001
) -> None:
    """See `lifecycle_invariants` for what holds after every step, and in the end."""

    @settings(max_examples=EXAMPLES, deadline=None)
    @given(LIVES)
    def live(life: list[tuple[Callable[[World, int], None], int]]) -> None:
        world = World(recovery, withheld=withheld, delete_after_finish=delete_after_finish)
        for deed, number in life:
            deed(world, number)
            world.check()
        world.settle()

    live()


EXAMPLES = 150
"""Lives of each of twelve kinds, in some eight seconds; twenty times as many have found nothing more."""
