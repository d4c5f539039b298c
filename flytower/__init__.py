"""Flytower: a supervised actor runtime on trio that serves Flyte connectors."""
