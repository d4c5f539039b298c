"""moto's server, whose jobs run on until they are ended when they are called endless, and with a record.

Prints its port when it is ready. The file `record`, in the folder CLUSTER, says what it was asked that changes
something. Runs in moto's environment.
"""

import functools
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from moto.emrserverless.models import EMRServerlessBackend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.sagemaker.models import SageMakerModelBackend
from werkzeug.serving import make_server

RECORD = Path(os.environ["CLUSTER"]) / "record"

names: list[str] = []


class Kind(NamedTuple):
    """A kind of job.

    Args:
        backend: moto's class.
        create: Its method that starts one.
        cancel: Its method that ends one.
        named: The argument of `create` that may say endless.
        name: The argument of `cancel` that names it.
        attribute: Where moto keeps that name.
        status: Where moto keeps its state.
        running: What that is while it runs.
    """

    backend: type
    create: str
    cancel: str
    named: str
    name: str
    attribute: str
    status: str
    running: str


KINDS = [
    Kind(EMRServerlessBackend, "start_job_run", "cancel_job_run", "name", "job_run_id", "id", "state", "RUNNING"),
    Kind(
        SageMakerModelBackend,
        "create_endpoint",
        "delete_endpoint",
        "endpoint_name",
        "endpoint_name",
        "endpoint_name",
        "endpoint_status",
        "Creating",
    ),
    Kind(
        SageMakerModelBackend,
        "create_processing_job",
        "stop_processing_job",
        "processing_job_name",
        "processing_job_name",
        "processing_job_name",
        "processing_job_status",
        "InProgress",
    ),
]


def watch(kind: Kind) -> None:
    """Have a kind of job noted, and the endless ones of it run on."""
    create, cancel = getattr(kind.backend, kind.create), getattr(kind.backend, kind.cancel)

    @functools.wraps(create)
    def created(*positional: Any, **named: Any) -> Any:
        job = create(*positional, **named)
        names.append(getattr(job, kind.attribute))
        if "endless" in str(argument(create, kind.named, positional, named)):
            setattr(job, kind.status, kind.running)
        note("create", names[-1])
        return job

    @functools.wraps(cancel)
    def cancelled(*positional: Any, **named: Any) -> Any:
        answer = cancel(*positional, **named)
        note("cancel", argument(cancel, kind.name, positional, named))
        return answer

    setattr(kind.backend, kind.create, created)
    setattr(kind.backend, kind.cancel, cancelled)


def argument(function: Callable[..., Any], name: str, positional: Any, named: Any) -> Any:
    """Return the argument of a call."""
    return inspect.signature(function).bind(*positional, **named).arguments.get(name)


def note(what: str, name: str) -> None:
    """Keep the record."""
    with RECORD.open("a") as record:
        record.write(f"{what} {names.index(name) + 1}\n")


for each in KINDS:
    watch(each)
server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
sys.stdout.write(f"{server.port}\n")
sys.stdout.flush()
server.serve_forever()
