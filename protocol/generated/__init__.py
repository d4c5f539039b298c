"""Messages and methods of Flyte and of gRPC health: written by flytower.protocol.generate."""
