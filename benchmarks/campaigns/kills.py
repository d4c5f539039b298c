"""Kill -9 at each point around the durable steps of create and delete."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import product
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import grpc

from campaigns.points import CREATE_POINTS, DELETE_POINTS, order
from campaigns.world import Verdict, World, new_world

if TYPE_CHECKING:
    from collections.abc import Iterable

TYPES = ("campaign_token", "campaign_find", "campaign_neither")


class Kill(NamedTuple):
    """One kill: where, and under whose feet."""

    point: str
    task_type: str


class Outcome(NamedTuple):
    """What came of a number of kills."""

    kills: int
    verdict: Verdict


EVERY_KILL = tuple(Kill(*each) for each in product((*CREATE_POINTS, *DELETE_POINTS), TYPES))


def run(kills: Iterable[Kill], seed: int) -> Outcome:
    """Kill a server again and again, and judge in the end."""
    rng = Random(seed)
    with new_world() as world:
        world.start()
        for number, kill in enumerate(kills):
            (_kill_in_delete if kill.point in DELETE_POINTS else _kill_in_create)(world, kill, number, rng)
        world.settle()
        return Outcome(world.kills, world.verdict())


def run_many(count: int, seed: int, worlds: int) -> Outcome:
    """Spread kills over several worlds at once; they wait more than they compute."""
    kills = [EVERY_KILL[number % len(EVERY_KILL)] for number in range(count)]
    Random(seed).shuffle(kills)
    with ThreadPoolExecutor(worlds) as threads:
        outcomes = list(threads.map(lambda part: run(kills[part::worlds], seed + part), range(worlds)))
    total = Verdict(*(sum(figures) for figures in zip(*(outcome.verdict for outcome in outcomes), strict=True)))
    return Outcome(sum(outcome.kills for outcome in outcomes), total)


def _kill_in_create(world: World, kill: Kill, number: int, rng: Random) -> None:
    """Have a CreateTask meet a kill; then do what Flyte does when it gets no answer."""
    if kill.point != "after reply":
        order(world.folder, *kill)
    answered = _create(world, kill.task_type, f"s3://kills/{number}/0")
    if kill.point == "after reply":
        world.kill()
    else:
        world.wait_for_death()
    world.start()
    if not answered:  # the executor died as well and sends it again, or it goes on to the next attempt
        _create(world, kill.task_type, f"s3://kills/{number}/{rng.randrange(2)}")


def _kill_in_delete(world: World, kill: Kill, number: int, rng: Random) -> None:
    """Have a DeleteTask meet a kill; Flyte sends it until it is answered."""
    meta = world.create(kill.task_type, f"s3://kills/{number}/{rng.randrange(3)}")
    if kill.point != "after delete reply":
        order(world.folder, *kill)
    answered = _delete(world, kill.task_type, meta)
    if kill.point == "after delete reply":
        world.kill()
    else:
        world.wait_for_death()
    world.start()
    if not answered:
        world.delete(kill.task_type, meta)


def _create(world: World, task_type: str, prefix: str) -> bytes | None:
    try:
        return world.create(task_type, prefix)
    except grpc.RpcError:
        return None


def _delete(world: World, task_type: str, meta: bytes) -> bool:
    try:
        world.delete(task_type, meta)
    except grpc.RpcError:
        return False
    return True
