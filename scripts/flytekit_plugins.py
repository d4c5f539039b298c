"""Install flytekit's connector plugins, one after the other, and say which of them are served.

`python scripts/flytekit_plugins.py [FOLDER]` prints a table for docs/flytekit.md. Each plugin is installed into a
folder of its own, so that nothing here is touched, and loaded in a process of its own, as `flytower serve --flytekit`
does. What a folder holds already is not installed again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PLUGINS = {
    "flytekitplugins-airflow": ["flytekitplugins.airflow"],
    "flytekitplugins-awsemrserverless": ["flytekitplugins.awsemrserverless"],
    "flytekitplugins-awssagemaker": ["flytekitplugins.awssagemaker_inference"],
    "flytekitplugins-bigquery": ["flytekitplugins.bigquery"],
    "flytekitplugins-dgxc-lepton": ["flytekitplugins.dgxc_lepton"],
    "flytekitplugins-k8sdataservice": ["flytekitplugins.k8sdataservice"],
    "flytekitplugins-mmcloud": ["flytekitplugins.mmcloud"],
    "flytekitplugins-openai": ["flytekitplugins.openai"],
    "flytekitplugins-perian-job": ["flytekitplugins.perian_job"],
    "flytekitplugins-slurm": ["flytekitplugins.slurm"],
    "flytekitplugins-snowflake": ["flytekitplugins.snowflake"],
    "flytekitplugins-spark": ["flytekitplugins.spark"],
}
"""Distribution -> what to import when its entry point brings nothing."""

INSTALL_SECONDS = 240.0
"""How long an install may take; Airflow's and Spark's are hundreds of megabytes."""

LOAD_SECONDS = 120.0

LOADER = """
import json, sys, warnings
warnings.simplefilter("ignore")
from flytower.connectors import flytekit
from flytower.connectors.registry import Registry
before = Registry()
loaded = flytekit.load(sys.argv[1:], registry=before)
agents = {a.name: [c.name for c in a.supported_task_categories] for a in before.list_connectors()}
print("RESULT" + json.dumps({"agents": agents, "failures": [[f.name, f.reason] for f in loaded.failures]}))
"""

UNKNOWN = "?"

BUILT_IN = {"Sensor", "Webhook Connector"}


def install(plugin: str, folder: Path) -> str:
    """Install a plugin into a folder; return what went wrong, in a line."""
    if version_of(plugin, folder) != UNKNOWN:
        return ""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--prefer-binary"]
    code, _, said = run([*command, "--target", str(folder), plugin], INSTALL_SECONDS)
    lines = said.splitlines()
    errors = [line for line in lines if line.startswith("ERROR")] or lines or ["pip failed"]
    return "" if code == 0 else errors[0][:160]


def load(modules: list[str], folder: Path) -> dict[str, Any]:
    """Load a plugin as the server does; return what is served, and what is not."""
    code, out, said = run([sys.executable, "-c", LOADER, *modules], LOAD_SECONDS, PYTHONPATH=str(folder))
    for line in out.splitlines():
        if line.startswith("RESULT"):
            result: dict[str, Any] = json.loads(line.removeprefix("RESULT"))
            return result
    reason = (said.strip().splitlines() or [f"it ended with code {code}"])[-1][:200]
    return {"agents": {}, "failures": [["flytekit", reason]]}


def run(command: list[str], seconds: float, **variables: str) -> tuple[int, str, str]:
    """Run a program for so long at most; return its exit code, and what it wrote."""
    environment = {**os.environ, **variables}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=seconds)
    except subprocess.TimeoutExpired:
        return -1, "", f"it took longer than {seconds:.0f} s"
    return done.returncode, done.stdout, done.stderr


def version_of(plugin: str, folder: Path) -> str:
    """Return the version that a folder holds of a distribution."""
    stem = plugin.replace("-", "_")
    found = [path.name for path in folder.glob(f"{stem}-*.dist-info")]
    return found[0].removeprefix(f"{stem}-").removesuffix(".dist-info") if found else UNKNOWN


def row(plugin: str, modules: list[str], place: Path) -> tuple[str, ...]:
    """Return what the table says of a plugin."""
    problem = install(plugin, place)
    if problem:
        return plugin, "", "", "", f"cannot be installed: {problem}"
    result = load(modules, place)
    served = [name for agent, types in result["agents"].items() if agent not in BUILT_IN for name in types]
    failures = "; ".join(f"{what}: {why}" for what, why in result["failures"])
    versions = version_of(plugin, place), version_of("flytekit", place)
    return plugin, *versions, ", ".join(served), failures[:300]


def main(folder: Path) -> None:
    """Print the table."""
    print("| plugin | version | flytekit | served task types | not served, and why |\n|---|---|---|---|---|")
    for plugin, modules in PLUGINS.items():
        print(f"| {' | '.join(row(plugin, modules, folder / plugin))} |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory(prefix="flytower-plugins-") as made:
            main(Path(made))
