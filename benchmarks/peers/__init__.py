"""The peer: flytekit's own connector server, started beside Flytower's with the same connectors, and load for both."""
