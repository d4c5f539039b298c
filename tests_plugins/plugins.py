"""The connector plugins of flytekit that PyPI has, and what is to be said of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tests_plugins import drives
from tests_plugins.counterparts import processes, small
from tests_plugins.counterparts.bigquery import bigquery
from tests_plugins.counterparts.databricks import databricks
from tests_plugins.counterparts.kubernetes import kubernetes
from tests_plugins.counterparts.openai import openai
from tests_plugins.counterparts.snowflake import snowflake
from tests_plugins.drives_sagemaker import sagemaker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from tests_plugins.counterparts.jobs import Counterpart, Place
    from tests_plugins.drives import Driven
    from tests_plugins.site import Site


class Drive(NamedTuple):
    """How a plugin is driven.

    Args:
        against: What stands for its external system, as the table says it.
        counterpart: Runs that.
        ask: Asks the server.
        variables: What the server needs beside what the counterpart brings.
    """

    against: str
    counterpart: Callable[[Place], AbstractContextManager[Counterpart]]
    ask: Callable[[Site], Driven]
    variables: Mapping[str, str] = {}


class Plugin(NamedTuple):
    """A distribution.

    Args:
        name: Its name on PyPI.
        drive: How it is driven; None if it cannot be.
        pickled: Its task types that are served only when they are named in `flytekit_pickled_metadata`.
        own_loop: Its task types whose coroutines block.
        undriven: Task type -> why that is not driven, or not to its end.
        broken: Why it cannot be installed, or not imported: what is said then contains this.
    """

    name: str
    drive: Drive | None = None
    pickled: tuple[str, ...] = ()
    own_loop: tuple[str, ...] = ()
    undriven: Mapping[str, str] = {}
    broken: str = ""


SAGEMAKER = (
    "sagemaker-endpoint",
    "sagemaker-hyperparameter-tuning-job",
    "sagemaker-inference-recommender-job",
    "sagemaker-processing-job",
    "sagemaker-processing-task",
    "sagemaker-training-job",
    "sagemaker-training-task",
    "sagemaker-transform-job",
)

PLUGINS = (
    Plugin("flytekit", Drive("a local web server and a file", small.web_page, drives.flytekit)),
    Plugin(
        "flytekitplugins-airflow",
        Drive("Airflow's own BashOperator, FileSensor and FileTrigger", small.files, drives.airflow),
        pickled=("airflow",),
        own_loop=("airflow",),
    ),
    Plugin(
        "flytekitplugins-awsemrserverless",
        Drive(
            "moto's server",
            processes.moto,
            drives.emr_serverless,
            {"FLYTE_EMR_ALLOW_CREATE_APPLICATION": "true"},
        ),
    ),
    Plugin(
        "flytekitplugins-awssagemaker",
        Drive("moto's server", processes.moto, sagemaker),
        pickled=SAGEMAKER,
        undriven={
            "sagemaker-inference-recommender-job": "moto has no such jobs",
            **dict.fromkeys(("sagemaker-training-job", "sagemaker-training-task"), "moto stops no training job"),
            "sagemaker-transform-job": "moto stops no transform job",
            "sagemaker-hyperparameter-tuning-job": "moto stops no tuning job",
        },
    ),
    Plugin("flytekitplugins-bacalhau", broken="depend on flytekit>=1.1.0b0,<=1.8.1"),
    Plugin(
        "flytekitplugins-bigquery",
        Drive("a local server with BigQuery's jobs, and a service account", bigquery, drives.bigquery),
    ),
    Plugin("flytekitplugins-chatgpt", Drive("a local server with OpenAI's chat", openai, drives.old_chat)),
    Plugin("flytekitplugins-dgxc-lepton", broken="No module named 'leptonai.api.v1'"),
    Plugin(
        "flytekitplugins-k8sdataservice",
        Drive("a local server with Kubernetes' services and stateful sets", kubernetes, drives.kubernetes),
    ),
    Plugin(
        "flytekitplugins-mmcloud",
        Drive("a local `float` that runs the jobs", processes.memory_machine, drives.mmcloud),
    ),
    Plugin(
        "flytekitplugins-openai",
        Drive("a local server with OpenAI's chat and batches", openai, drives.openai),
        pickled=("openai-batch",),
    ),
    Plugin("flytekitplugins-perian-job", broken="cannot import name 'JobStatus' from 'perian'"),
    Plugin("flytekitplugins-perian-job-unofficial", broken="cannot import name 'JobStatus' from 'perian'"),
    Plugin(
        "flytekitplugins-slurm",
        Drive(
            "a local SSH server with `sbatch`, `scontrol`, `scancel` that run the jobs", processes.slurm, drives.slurm
        ),
    ),
    Plugin(
        "flytekitplugins-snowflake",
        Drive("a local server with Snowflake's sessions and queries", snowflake, drives.snowflake),
        own_loop=("snowflake",),
    ),
    Plugin(
        "flytekitplugins-spark",
        Drive("a local server with Databricks' three endpoints", databricks, drives.databricks),
    ),
)
"""In the order of the table. Who looks for more: they register in flytekit's `ConnectorRegistry`."""
