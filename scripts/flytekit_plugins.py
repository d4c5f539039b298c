"""Install flytekit's connector plugins, one after the other, and say which of them are served.

`python scripts/flytekit_plugins.py [FOLDER]` prints a table for docs/flytekit.md. Each plugin is installed into a folder
of its own, so that nothing here is touched, and loaded in a process of its own, as `flytower serve --flytekit` does.
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

LOADER = """
import json, sys, warnings
warnings.simplefilter("ignore")
from flytower.connectors import flytekit
from flytower.connectors.registry import Registry
before = Registry()
loaded = flytekit.load(sys.argv[1:], registry=before)
agents = {a.name: [c.name for c in a.supported_task_categories] for a in before.list_connectors()}
print("RESULT" + json.dumps({"agents": agents, "failures": [str(f) for f in loaded.failures]}))
"""

BUILT_IN = {"Sensor", "Webhook Connector"}


def install(plugin: str, folder: Path) -> str:
    """Install a plugin into a folder; return what went wrong, in a line."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*command, "--target", str(folder), plugin], capture_output=True, text=True, check=False)
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    return "" if done.returncode == 0 else (errors or done.stderr.splitlines() or ["pip failed"])[0][:160]


def load(modules: list[str], folder: Path) -> dict[str, Any]:
    """Load a plugin as the server does; return what is served, and what is not."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", LOADER, *modules], capture_output=True, text=True, check=False, env=environment
    )
    for line in done.stdout.splitlines():
        if line.startswith("RESULT"):
            result: dict[str, Any] = json.loads(line.removeprefix("RESULT"))
            return result
    return {"agents": {}, "failures": [(done.stderr.strip().splitlines() or ["it said nothing"])[-1][:200]]}


def version_of(plugin: str, folder: Path) -> str:
    """Return the version that was installed."""
    stem = plugin.replace("-", "_")
    found = [path.name for path in folder.glob(f"{stem}-*.dist-info")]
    return found[0].removeprefix(f"{stem}-").removesuffix(".dist-info") if found else "?"


def main(folder: Path) -> None:
    """Print the table."""
    print("| plugin | version | served task types | not served, and why |\n|---|---|---|---|")
    for plugin, modules in PLUGINS.items():
        place = folder / plugin
        problem = install(plugin, place)
        if problem:
            print(f"| {plugin} | | | cannot be installed: {problem} |", flush=True)
            continue
        result = load(modules, place)
        served = [name for agent, types in result["agents"].items() if agent not in BUILT_IN for name in types]
        failures = "; ".join(result["failures"])[:300]
        print(f"| {plugin} | {version_of(plugin, place)} | {', '.join(served)} | {failures} |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory(prefix="flytower-plugins-") as made:
            main(Path(made))
