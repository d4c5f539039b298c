"""Install flytekit's connector plugins, one after the other, and say which of them are served.

`python scripts/flytekit_plugins.py [FOLDER [PLUGIN ...]]` prints a table for docs/flytekit.md. Each plugin is installed
into a folder of its own, so that nothing here is touched, loaded in a process of its own as by `flytower serve
--flytekit`, and driven where something can stand for its system. What a folder holds is not installed again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flytekit_drives import drive

if TYPE_CHECKING:
    from collections.abc import Collection

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
registry = Registry()
first = flytekit.load(sys.argv[1:], registry=registry)
from flytekit.extend.backend.base_connector import ConnectorRegistry
served = {c.name for a in registry.list_connectors() for c in a.supported_task_categories}
everything = {c.name for c in ConnectorRegistry._REGISTRY}
second = flytekit.load(sys.argv[1:], pickled_metadata=everything, registry=Registry())
failures = [f for f in first.failures if "PickledMetadata" not in f.reason] + second.failures
print("RESULT" + json.dumps({
    "served": sorted(served),
    "pickled": sorted(everything - served),
    "failures": list({f.reason: [f.name, f.reason] for f in failures}.values()),
}))
"""

MOTO = "moto[server]"
"""What stands for AWS."""

UNKNOWN = "?"

BUILT_IN = {"sensor", "webhook"}


def install(plugin: str, folder: Path) -> str:
    """Install a plugin into a folder; return what went wrong, in a line."""
    if version_of(plugin, folder) != UNKNOWN:
        return ""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--prefer-binary"]
    same = f"flytekit=={metadata.version('flytekit')}"  # as in an image that has it; it also spares pip a long search
    code, _, said = run([*command, "--target", str(folder), plugin, same], INSTALL_SECONDS)
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
    return {"served": [], "pickled": [], "failures": [["flytekit", reason]]}


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
    stem = plugin.partition("[")[0].replace("-", "_")
    found = [path.name for path in folder.glob(f"{stem}-*.dist-info")]
    return found[0].removeprefix(f"{stem}-").removesuffix(".dist-info") if found else UNKNOWN


def row(plugin: str, modules: list[str], place: Path, moto: Path) -> tuple[str, ...]:
    """Return what the table says of a plugin."""
    problem = install(plugin, place)
    if problem:
        return plugin, "", "", f"cannot be installed: {problem}"
    result = load(modules, place)
    served = [f"`{name}`" for name in result["served"] if name not in BUILT_IN]
    served += [f"`{name}` (pickled metadata)" for name in result["pickled"] if name not in served]
    reasons = [f"{what}: {why}".replace(f"{place}/", "") for what, why in result["failures"]]
    came = (
        drive(plugin, place, result["pickled"], moto)
        if served
        else "; ".join(reasons)[:300] or "it brings no connector"
    )
    return plugin, version_of(plugin, place), ", ".join(served), came


def main(folder: Path, wanted: Collection[str] = ()) -> None:
    """Print the table."""
    moto = folder / MOTO
    problem = install(MOTO, moto)
    if problem:
        print(f"{MOTO} cannot be installed: {problem}", file=sys.stderr)
    print("| plugin | version | registered and listed | driven |\n|---|---|---|---|")
    for plugin, modules in PLUGINS.items():
        if not wanted or plugin in wanted:
            print(f"| {' | '.join(row(plugin, modules, folder / plugin, moto))} |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]), sys.argv[2:])
    else:
        with tempfile.TemporaryDirectory(prefix="flytower-plugins-") as made:
            main(Path(made))
