"""Drive connectors of flytekit's plugins through a Flytower server, against what stands for their external systems.

AWS is moto's server, OpenAI and Databricks are local HTTP servers. `flytekit_plugins.py` puts what came of it into its
table.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
from flyteidl.admin import agent_pb2
from flyteidl.core.execution_pb2 import TaskExecution
from flyteidl.service import agent_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE = 60.0

ENDED = {TaskExecution.SUCCEEDED, TaskExecution.FAILED, TaskExecution.ABORTED, TaskExecution.RETRYABLE_FAILED}

PREFIX = f"{tempfile.gettempdir()}/flytower-drive"
"""Where outputs would go."""

REGION = "us-east-1"

ROLE = "arn:aws:iam::123456789012:role/Role"

AWS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": REGION}


class Flyte:
    """A client of one server.

    Args:
        target: Where it listens.
    """

    def __init__(self, target: str) -> None:
        channel = grpc.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)])
        self._tasks = agent_pb2_grpc.AsyncAgentServiceStub(channel)
        self._sync = agent_pb2_grpc.SyncAgentServiceStub(channel)

    def run(self, task_type: str, custom: dict[str, Any]) -> str:
        """Create a task, read it until it ends, delete it; return what was seen."""
        request = agent_pb2.CreateTaskRequest(output_prefix=f"{PREFIX}/{time.time_ns()}/0")
        request.template.CopyFrom(_template(task_type, custom))
        meta = self._tasks.CreateTask(request, timeout=PATIENCE).resource_meta
        category = agent_pb2.TaskCategory(name=task_type)
        phase = self._end(agent_pb2.GetTaskRequest(task_category=category, resource_meta=meta))
        self._tasks.DeleteTask(
            agent_pb2.DeleteTaskRequest(task_category=category, resource_meta=meta), timeout=PATIENCE
        )
        return f"`{task_type}`: create, get ({phase}), delete"

    def _end(self, request: Any) -> str:
        begun = time.monotonic()
        while True:
            resource = self._tasks.GetTask(request, timeout=PATIENCE).resource
            if resource.phase in ENDED or time.monotonic() - begun > PATIENCE:
                name = TaskExecution.Phase.Name(resource.phase)
                return name if resource.phase == TaskExecution.SUCCEEDED else f"{name}: {resource.message}"
            time.sleep(0.2)

    def do(self, task_type: str, custom: dict[str, Any], **inputs: str) -> str:
        """Execute a sync task; return what was seen."""
        header = agent_pb2.CreateRequestHeader(template=_template(task_type, custom), output_prefix=PREFIX)
        given = agent_pb2.ExecuteTaskSyncRequest()
        given.inputs.SetInParent()
        for name, value in inputs.items():
            given.inputs.literals[name].scalar.primitive.string_value = value
        messages = [agent_pb2.ExecuteTaskSyncRequest(header=header), given]
        (answer,) = self._sync.ExecuteTaskSync(iter(messages), timeout=PATIENCE)
        resource = answer.header.resource
        return f"`{task_type}`: do ({TaskExecution.Phase.Name(resource.phase)})"


def _template(task_type: str, custom: dict[str, Any]) -> Any:
    request = agent_pb2.CreateTaskRequest()
    request.template.type = task_type
    request.template.id.name = "drive"
    request.template.container.image = "image"
    request.template.custom.update(custom)
    return request.template


class Drive(NamedTuple):
    """How a plugin is driven.

    Args:
        against: What stands for its external system.
        counterpart: Starts that, given moto's folder; returns the environment that leads there.
        steps: What is asked of the server.
    """

    against: str
    counterpart: Callable[[Path], Any]
    steps: Callable[[Flyte, dict[str, str]], list[str]]


@contextmanager
def moto(folder: Path) -> Iterator[dict[str, str]]:
    """Run moto's server."""
    port = _free_port()
    variables = {**os.environ, "PYTHONPATH": str(folder)}
    with subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)],
        env=variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as server:
        try:
            _wait_for(port)
            yield {**AWS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "MOTO_FOLDER": str(folder)}
        finally:
            server.terminate()


class Api(BaseHTTPRequestHandler):
    """Answers in JSON."""

    def answer(self, body: dict[str, Any]) -> None:
        """Answer."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Completions(Api):
    """OpenAI's API, as far as one chat goes."""

    def do_POST(self) -> None:
        """Answer any chat."""
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}
        self.answer({"id": "c", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]})


class Runs(Api):
    """Databricks' API, as far as its connector goes: submit, get, cancel. A run ends at the third look."""

    looks = 0

    def do_POST(self) -> None:
        """Submit or cancel."""
        self.answer({"run_id": 1} if self.path.endswith("/submit") else {})

    def do_GET(self) -> None:
        """Say how the run is."""
        Runs.looks += 1
        done = {"life_cycle_state": "TERMINATED", "result_state": "SUCCESS", "state_message": "done"}
        self.answer({"job_id": 1, "state": done if Runs.looks > 2 else {"life_cycle_state": "RUNNING"}})  # noqa: PLR2004


@contextmanager
def databricks(_: Path) -> Iterator[dict[str, str]]:
    """Run a server that speaks Databricks' API, with TLS, since its connector speaks nothing else."""
    with tempfile.TemporaryDirectory() as folder, _serving(Runs) as server:
        certificate, key = f"{folder}/certificate", f"{folder}/key"
        made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1"]
        names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate]
        subprocess.run(["openssl", *made, *names], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        token = {"FLYTE_DATABRICKS_ACCESS_TOKEN": "x", "_FSEC_FLYTE_DATABRICKS_ACCESS_TOKEN": "x"}
        yield {"SSL_CERT_FILE": certificate, "FLYTE_DATABRICKS_INSTANCE": f"localhost:{server.server_port}", **token}


@contextmanager
def _serving(api: type[Api]) -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), api) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def openai(_: Path) -> Iterator[dict[str, str]]:
    """Run a server that speaks OpenAI's chat API."""
    with _serving(Completions) as server:
        key = {"FLYTE_OPENAI_API_KEY": "x", "_FSEC_FLYTE_OPENAI_API_KEY": "x", "OPENAI_API_KEY": "x"}
        yield {"OPENAI_BASE_URL": f"http://127.0.0.1:{server.server_port}/v1", **key}


def emr_serverless(flyte: Flyte, environment: dict[str, str]) -> list[str]:
    """Run a Spark job in an application that is made for it."""
    code = "import boto3; print(boto3.client('emr-serverless').create_application(releaseLabel='emr-7.0.0', type='SPARK')['applicationId'])"  # noqa: E501 - one line of Python
    variables = {**os.environ, **environment, "PYTHONPATH": environment["MOTO_FOLDER"]}
    made = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
    custom = {
        "application_id": made.stdout.strip(),
        "execution_role_arn": ROLE,
        "region": REGION,
        "spark_job_driver": {"entryPoint": "s3://bucket/main.py"},
    }
    return [flyte.run("emr_serverless", custom)]


def sagemaker(flyte: Flyte, _: dict[str, str]) -> list[str]:
    """Make a model, a configuration and an endpoint."""
    model = {"ModelName": "m", "PrimaryContainer": {"Image": "i"}, "ExecutionRoleArn": ROLE}
    variant = {"VariantName": "v", "ModelName": "m", "InitialInstanceCount": 1, "InstanceType": "ml.m4.xlarge"}
    config = {"EndpointConfigName": "c", "ProductionVariants": [variant]}
    calls = {"create_model": model, "create_endpoint_config": config}
    done = [
        flyte.do("boto", {"service": "sagemaker", "region": REGION, "method": method, "config": asked})
        for method, asked in calls.items()
    ]
    endpoint = {"EndpointName": "e", "EndpointConfigName": "c"}
    return [*dict.fromkeys(done), flyte.run("sagemaker-endpoint", {"config": endpoint, "region": REGION})]


def chat(flyte: Flyte, _: dict[str, str]) -> list[str]:
    """Say hello."""
    custom = {"openai_organization": "o", "chatgpt_config": {"model": "m"}}
    return [flyte.do("chatgpt", custom, message="hello")]


def spark(flyte: Flyte, environment: dict[str, str]) -> list[str]:
    """Submit a run to a cluster that exists."""
    conf = {"existing_cluster_id": "c", "run_name": "drive"}
    custom = {"databricksConf": conf, "databricksInstance": environment["FLYTE_DATABRICKS_INSTANCE"]}
    return [flyte.run("databricks", custom)]


DRIVES = {
    "flytekitplugins-awsemrserverless": Drive("moto's server", moto, emr_serverless),
    "flytekitplugins-awssagemaker": Drive("moto's server", moto, sagemaker),
    "flytekitplugins-spark": Drive("a local server with Databricks' three endpoints", databricks, spark),
    "flytekitplugins-openai": Drive("a local server with OpenAI's chat API", openai, chat),
}


def drive(plugin: str, folder: Path, pickled: list[str], moto_folder: Path) -> str:
    """Drive a plugin that is installed in a folder, and return what came of it."""
    if plugin not in DRIVES:
        return "not driven: nothing here stands for its system"
    how = DRIVES[plugin]
    try:
        with ExitStack() as stack:
            environment = stack.enter_context(how.counterpart(moto_folder))
            environment["FLYTOWER_FLYTEKIT_PICKLED_METADATA"] = ",".join(pickled)
            flyte = Flyte(stack.enter_context(_served(folder, environment)))
            return f"{'; '.join(how.steps(flyte, environment))}; against {how.against}"
    except grpc.RpcError as error:
        return f"fails: {' '.join(error.details().split())[-160:]}"
    except Exception as error:  # noqa: BLE001 - it is told in the table
        return f"not driven: {type(error).__name__}: {str(error)[:120]}"


@contextmanager
def _served(folder: Path, environment: dict[str, str]) -> Iterator[str]:
    command = ["-m", "flytower", "serve", "--flytekit", "--port", "0", "--metrics-port", "off", "--ledger", "memory://"]
    variables = {**os.environ, **environment, "PYTHONPATH": str(folder)}
    with subprocess.Popen(
        [sys.executable, *command], env=variables, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        try:
            ready = server.stdout.readline() if server.stdout is not None else ""
            yield ready.split("grpc=")[1].split()[0]
        finally:
            server.terminate()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _wait_for(port: int) -> None:
    begun = time.monotonic()
    while time.monotonic() - begun < PATIENCE:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("it does not listen; is moto[server] installed?")
