"""Whatever get_metrics gives becomes one message."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from flytower.connectors import (
    Bound,
    ConnectorContractError,
)
from flytower.protocol.codec import struct_to_dict
from flytower.protocol.generated.flyteidl import admin
from flytower.protocol.generated.flyteidl.core import ExecutionMetricResult
from tests.connectors.recording import META, Full


async def test_metrics_are_a_message_results_or_a_dictionary() -> None:
    result = ExecutionMetricResult(metric="cpu")
    message = admin.GetTaskMetricsResponse(results=[result])
    assert await Bound(Full(get_metrics=message)).metrics(META) is message
    assert (await Bound(Full(get_metrics=[result])).metrics(META)).results == [result]
    response = await Bound(Full(get_metrics={"cpu": 0.5, "series": {"values": [1, 2]}})).metrics(META)
    found = {one.metric: struct_to_dict(one.data) for one in response.results if one.data}
    assert found == {"cpu": {"value": 0.5}, "series": {"values": [1, 2]}}


async def test_the_question_reaches_get_metrics() -> None:
    connector = Full(get_metrics={})
    start, end, step = (
        dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
        dt.timedelta(hours=1),
    )
    await Bound(connector).metrics(META, queries=["cpu"], start_time=start, end_time=end, step=step)
    assert connector.calls == [
        ("get_metrics", {"queries": ["cpu"], "start_time": start, "end_time": end, "step": step})
    ]


@pytest.mark.parametrize("answer", [None, "cpu", ["cpu"], {"cpu": object()}, {"cpu": float("nan")}])
async def test_metrics_that_cannot_be_shown_are_the_authors_fault(answer: Any) -> None:
    with pytest.raises(ConnectorContractError):
        await Bound(Full(get_metrics=answer)).metrics(META)
