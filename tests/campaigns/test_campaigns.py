"""The fault campaigns at a size that fits a test run: real servers, real kills, the external system's own record."""

from __future__ import annotations

from collections import Counter

import pytest

from campaigns import answers, damage, deploys, kills, outage
from campaigns.world import Deed, Verdict, judge
from flytower.actors.ledger.row import Row

SEED = 20261123


@pytest.mark.parametrize("task_type", kills.TYPES)
@pytest.mark.parametrize("part", [0, 1])
def test_kill_9_around_any_durable_step_loses_and_doubles_nothing(task_type: str, part: int) -> None:
    """Each point once, for a connector that repeats, one that finds, and one that can do neither."""
    chosen = [kill for kill in kills.EVERY_KILL if kill.task_type == task_type][part::2]
    outcome = kills.run(chosen, SEED)
    assert outcome.kills == len(chosen)
    assert outcome.verdict[:2] == (0, 0), "lost, doubled"
    undecidable = {"after intent", "before call", "after call", "before result"}
    unknown = sum(kill.point in undecidable for kill in chosen) if task_type == "campaign_neither" else 0
    assert outcome.verdict.reported == unknown


def test_a_create_that_was_done_and_whose_answer_was_lost_is_found_again_or_reported() -> None:
    assert answers.lost_answers(3) == Verdict(lost=0, doubled=0, reported=3)


def test_two_hundred_creates_of_one_key_make_one_job_and_get_one_meta() -> None:
    assert answers.same_key(3, 200) == answers.SameKey(rounds=3, creates=3, metas=3, failed=0)


def test_creates_that_outlive_their_callers_leave_no_orphan_and_are_not_deleted() -> None:
    found = answers.deadlines(30, 2.5, 1.0, SEED)
    assert (found.orphans, found.wrongly_deleted) == (0, 0)
    assert found.provisional > 0


def test_every_delete_that_was_acknowledged_happens_through_failures_and_restarts() -> None:
    found = answers.deletes(6, 20, 3)
    assert (found.acknowledged, found.gone) == (6, 6)


@pytest.mark.parametrize("weather", outage.WEATHERS)
def test_an_hour_without_the_external_system_costs_no_read(weather: str) -> None:
    found = outage.outage(weather, 10)
    assert (found.errors, found.too_soon) == (0, 0)
    assert found.stale == found.reads > 0
    assert found.recovered <= found.bound


def test_a_server_that_is_restarted_owns_every_task_without_being_asked() -> None:
    assert deploys.restart(500).tasks == 500


def test_a_server_that_is_stopped_cuts_no_call_and_deletes_no_job() -> None:
    found = deploys.drain(1, 100, 1.0)
    assert (found.calls, found.cut, found.deletes, found.bad_exits) == (100, 0, 0, 0)


@pytest.mark.parametrize(("campaign", "step"), [(damage.cut, 61), (damage.flip, 199), (damage.flip_file, 199)])
def test_a_damaged_ledger_opens_with_all_or_is_refused_by_name(campaign: object, step: int) -> None:
    found = campaign(step)  # type: ignore[operator]
    assert found.wrong == 0
    assert found.opened + found.refused == found.files > 10


# ---- the judge -------------------------------------------------------------------------------------------------


def row(stage: str, task: str = "k", job: str | None = None) -> Row:
    return Row(task, 1, "spark", 0, stage, meta=None if job is None else b'{"job":"%s"}' % job.encode())


CREATED = Deed("create", "j1", "k", 1.0)


@pytest.mark.parametrize(
    ("record", "rows", "verdict"),
    [
        ([CREATED], [row("live", job="j1")], Verdict(0, 0, 0)),
        ([CREATED], [row("finished", job="j1")], Verdict(1, 0, 0)),
        ([CREATED], [], Verdict(1, 0, 0)),
        ([CREATED, Deed("delete", "j1", "k", 2.0)], [], Verdict(0, 0, 0)),
        ([CREATED], [row("unknown")], Verdict(0, 0, 1)),
        ([CREATED, Deed("create", "j2", "k", 2.0)], [row("live", job="j2")], Verdict(1, 1, 0)),
    ],
)
def test_the_judge_knows_what_is_lost_and_what_is_doubled(
    record: list[Deed], rows: list[Row], verdict: Verdict
) -> None:
    assert judge(record, rows) == verdict


def test_every_point_is_there_for_every_kind_of_connector() -> None:
    assert Counter(kill.task_type for kill in kills.EVERY_KILL) == dict.fromkeys(kills.TYPES, 14)
