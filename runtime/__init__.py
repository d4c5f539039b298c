"""The actor kernel on trio: services, entities, supervisors. Knows nothing of Flyte, gRPC or connectors."""
