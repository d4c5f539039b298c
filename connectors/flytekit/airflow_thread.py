"""Running Airflow's operators in a thread other than the one that imported Airflow."""

from __future__ import annotations

import sys


def let_airflow_run_here() -> None:
    """Give Airflow 2's operators, in this thread, what they have only where Airflow was imported.

    Airflow keeps what guards an operator's `execute` in a `threading.local`, fills it while it is imported, and then
    reads it wherever an operator is executed (airflow/models/baseoperator.py, ExecutorSafeguard): in any other thread
    that is an AttributeError. Nothing happens where Airflow is not imported, or has no such guard (Airflow 3).
    """
    guard = getattr(sys.modules.get("airflow.models.baseoperator"), "ExecutorSafeguard", None)
    kept = getattr(guard, "_sentinel", None)
    if kept is not None and not hasattr(kept, "callers"):
        kept.callers = {}
