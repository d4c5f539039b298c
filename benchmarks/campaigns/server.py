"""`flytower serve` with a store that can be told to die: `python -m campaigns.server LEDGER`."""

from __future__ import annotations

import os
import sys

import trio

import campaigns.connectors  # noqa: F401 - registers them
from campaigns.points import MortalStore
from flytower.cli import serve
from flytower.cli.log_setup import configure_logs
from flytower.setting_sources import load

if __name__ == "__main__":
    vars(serve)["open_store"] = MortalStore  # the one seam
    flags = {"port": "0", "metrics_port": "0", "ledger": sys.argv[1], "log_level": "warning", "log_format": "json"}
    settings = load(flags, os.environ)
    configure_logs(settings.log_level, settings.log_format)
    sys.exit(trio.run(serve.run_server, settings))
