"""What `get_metrics` may return, as the message that goes to Flyte."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flytower.connectors.errors import ConnectorContractError
from flytower.protocol.codec import dict_to_struct
from flytower.protocol.generated.flyteidl import admin
from flytower.protocol.generated.flyteidl.core import ExecutionMetricResult


def metrics_message(answer: Any) -> admin.GetTaskMetricsResponse:
    """Return the message for a message, a mapping of names to values, or a sequence of results.

    Raises:
        ConnectorContractError: It is none of these, or a value cannot be converted.
    """
    if isinstance(answer, admin.GetTaskMetricsResponse):
        return answer
    if isinstance(answer, Mapping):
        return admin.GetTaskMetricsResponse(results=[_metric(name, data) for name, data in answer.items()])
    if isinstance(answer, Sequence) and all(isinstance(item, ExecutionMetricResult) for item in answer):
        return admin.GetTaskMetricsResponse(results=list(answer))
    raise ConnectorContractError(f"get_metrics returned a {type(answer).__name__}; see AsyncConnectorBase.get_metrics")


def _metric(name: str, data: Any) -> ExecutionMetricResult:
    try:
        return ExecutionMetricResult(
            metric=name, data=dict_to_struct(dict(data) if isinstance(data, Mapping) else {"value": data}, name)
        )
    except (TypeError, ValueError) as error:
        raise ConnectorContractError(f"metric {name!r} cannot be converted: {error}") from error
