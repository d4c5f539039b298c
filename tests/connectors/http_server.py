"""A small HTTP server on loopback, for connectors to call."""

from __future__ import annotations
