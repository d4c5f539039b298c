"""What is asked of each plugin's connectors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import grpc
import pytest

from tests_plugins.site import Site, Wanted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Driven = dict[str, str]
"""Task type -> what was done with it."""

ROLE = "arn:aws:iam::123456789012:role/Role"

NOTHING_TO_DELETE = "create, get, delete (which does nothing)"

OLD_ARGUMENTS = "TypeError: ChatGPTAgent.do() got an unexpected keyword argument 'output_prefix'"

NO_LOGGER = "NameError: name 'logger' is not defined"

COMMANDS = (("echo", "done"), ("timeout", "--foreground", "300", "tail", "-f", "/dev/null"))
"""The second outlives its test, and is not left behind for good by one that fails."""

SCRIPTS = tuple(f"#!/bin/bash\n{' '.join(command)}\n" for command in COMMANDS)

QUERIES = ("SELECT 1", "SELECT 1 -- endless")
"""Of two jobs the second never ends by itself."""


def flytekit(site: Site) -> Driven:
    """Wait for a file that is there, and for one that never will be; and call a URL."""
    ready = site.folder / "ready"
    ready.touch()

    def file(path: Path) -> Wanted:
        sensor = {"sensor_module": "flytekit.sensor.file_sensor", "sensor_name": "FileSensor"}
        return Wanted("sensor", sensor, inputs={"path": str(path)})

    call = {"url": site.counterpart.variables["URL"], "method": "post", "headers": {}, "data": {"a": "b"}}
    site.succeed(file(ready))
    site.leave(file(site.folder / "never"))
    webhook = site.do(Wanted("webhook", call))
    assert [json.loads(posted) for posted in site.counterpart.record()] == [{"a": "b"}]
    return {"sensor": NOTHING_TO_DELETE, "webhook": webhook}


def slurm(site: Site) -> Driven:
    """Run scripts; one of them is a Flyte function's command."""
    ssh = {"host": "cluster", "username": "user"}
    common = {"ssh_config": ssh, "sbatch_config": {"partition": "debug", "job-name": "drive"}}

    def script(text: str) -> Wanted:
        parts = {"script": text, "batch_script_args": ["1"], "python_input_types": None, "output_locs": None}
        return Wanted("slurm", {**common, **parts})

    def function(*args: str) -> Wanted:
        return Wanted("slurm_fn", {**common, "script": "#!/bin/bash\n{task.fn}\n"}, args=args)

    return {
        "slurm": site.live_and_die(*map(script, SCRIPTS)),
        "slurm_fn": _function_without_logger(site, function),
    }


def _function_without_logger(site: Site, function: Callable[..., Wanted]) -> str:
    """Start jobs, and delete one: how they are, this connector cannot tell."""
    short, endless = (function(*command) for command in COMMANDS)
    site.fail_to_poll(short, NO_LOGGER)
    site.die(endless)
    return f"create, delete (its get fails: {NO_LOGGER})"


def mmcloud(site: Site) -> Driven:
    """Run two commands."""
    custom = {"resources": [1, 1, 2, 2], "submit_extra": ""}
    return {"mmcloud_task": site.live_and_die(*(Wanted("mmcloud_task", custom, args=args) for args in COMMANDS))}


def snowflake(site: Site) -> Driven:
    """Run two queries."""
    config = {name: name for name in ("user", "account", "database", "schema", "warehouse")}
    queries = (Wanted("snowflake", sql=sql, config=config) for sql in QUERIES)
    return {"snowflake": site.live_and_die(*queries)}


def bigquery(site: Site) -> Driven:
    """Run two queries."""
    custom = {"ProjectID": "project", "Location": "EU"}
    queries = (Wanted("bigquery_query_job_task", custom, sql=sql) for sql in QUERIES)
    return {"bigquery_query_job_task": site.live_and_die(*queries)}


def databricks(site: Site) -> Driven:
    """Run two Python files, by both names that the connector has."""

    def run(task_type: str, name: str) -> Wanted:
        return Wanted(task_type, {"databricksConf": {"existing_cluster_id": "c", "run_name": name}})

    return {name: site.live_and_die(run(name, "short"), run(name, "endless")) for name in ("databricks", "spark")}


def openai(site: Site) -> Driven:
    """Say hello, and run two batches."""

    def batch(what: str) -> Wanted:
        config = {"metadata": {"what": what}}
        return Wanted("openai-batch", {"openai_organization": "o", "config": config}, inputs={"input_file_id": "f"})

    return {"chatgpt": chat(site)["chatgpt"], "openai-batch": site.live_and_die(batch("short"), batch("endless"))}


def chat(site: Site) -> Driven:
    """Say hello."""
    custom = {"openai_organization": "o", "chatgpt_config": {"model": "m"}}
    return {"chatgpt": site.do(Wanted("chatgpt", custom, inputs={"message": "hello"}))}


def old_chat(site: Site) -> Driven:
    """Say hello to who does not know today's arguments."""
    with pytest.raises(grpc.RpcError) as failed:
        chat(site)
    assert OLD_ARGUMENTS in failed.value.details()
    return {"chatgpt": f"not driven (its do fails: {OLD_ARGUMENTS})"}


def kubernetes(site: Site) -> Driven:
    """Run two services."""

    def service(name: str) -> Wanted:
        return Wanted("dataservicetask", {"Name": name, "Image": "image:1", "Command": ["serve"], "Cluster": "c"})

    return {"dataservicetask": site.live_and_die(service("short"), service("endless"))}


def emr_serverless(site: Site) -> Driven:
    """Run two scripts in an application that the connector makes."""

    def script(name: str) -> Wanted:
        custom = {
            "application_name": "drive",
            "execution_role_arn": ROLE,
            "region": "us-east-1",
            "spark_job_driver": {"entryPoint": "s3://bucket/main.py"},
        }
        return Wanted("emr_serverless", custom, name=name)

    return {"emr_serverless": site.live_and_die(script("short"), script("endless"))}


def airflow(site: Site) -> Driven:
    """Run an operator that ends in its create, one that defers to a trigger, and a sensor; and end one that waits."""
    ready, asked, never = site.folder / "ready", site.folder / "asked", site.folder / "never"
    ready.touch()
    kind = "flytekitplugins.airflow.task.AirflowObj"

    def task(module: str, name: str, **parameters: str) -> Wanted:
        pickled = {"py/object": kind, "module": module, "name": name, "parameters": {"task_id": "drive", **parameters}}
        return Wanted("airflow", {"task_config_pkl": json.dumps(pickled)})

    site.succeed(task("airflow.operators.bash", "BashOperator", bash_command=f"echo bash >> {asked}"))
    site.succeed(task("flytower_airflow", "FileOperator", path=str(ready), asked=str(asked)))
    site.succeed(task("airflow.sensors.filesystem", "FileSensor", filepath=str(ready)))
    site.leave(task("airflow.sensors.filesystem", "FileSensor", filepath=str(never)))
    assert asked.read_text() == f"bash\n{ready}\n"
    return {"airflow": NOTHING_TO_DELETE}
