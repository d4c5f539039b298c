"""Every method of every service that is served: written by flytower.protocol.generate."""

from __future__ import annotations

from betterproto2 import Message

import flytower.protocol.generated.flyteidl.admin as flyteidl_admin
import flytower.protocol.generated.grpc.health.v1 as grpc_health_v1

METHODS: tuple[tuple[str, str, type[Message], type[Message], bool, bool], ...] = (
    # service, method, request, response, the client streams, the server streams
    ("flyteidl.service.AsyncAgentService", "CreateTask", flyteidl_admin.CreateTaskRequest, flyteidl_admin.CreateTaskResponse, False, False),
    ("flyteidl.service.AsyncAgentService", "GetTask", flyteidl_admin.GetTaskRequest, flyteidl_admin.GetTaskResponse, False, False),
    ("flyteidl.service.AsyncAgentService", "DeleteTask", flyteidl_admin.DeleteTaskRequest, flyteidl_admin.DeleteTaskResponse, False, False),
    ("flyteidl.service.AsyncAgentService", "GetTaskMetrics", flyteidl_admin.GetTaskMetricsRequest, flyteidl_admin.GetTaskMetricsResponse, False, False),
    ("flyteidl.service.AsyncAgentService", "GetTaskLogs", flyteidl_admin.GetTaskLogsRequest, flyteidl_admin.GetTaskLogsResponse, False, True),
    ("flyteidl.service.SyncAgentService", "ExecuteTaskSync", flyteidl_admin.ExecuteTaskSyncRequest, flyteidl_admin.ExecuteTaskSyncResponse, True, True),
    ("flyteidl.service.AgentMetadataService", "GetAgent", flyteidl_admin.GetAgentRequest, flyteidl_admin.GetAgentResponse, False, False),
    ("flyteidl.service.AgentMetadataService", "ListAgents", flyteidl_admin.ListAgentsRequest, flyteidl_admin.ListAgentsResponse, False, False),
    ("grpc.health.v1.Health", "Check", grpc_health_v1.HealthCheckRequest, grpc_health_v1.HealthCheckResponse, False, False),
    ("grpc.health.v1.Health", "List", grpc_health_v1.HealthListRequest, grpc_health_v1.HealthListResponse, False, False),
    ("grpc.health.v1.Health", "Watch", grpc_health_v1.HealthCheckRequest, grpc_health_v1.HealthCheckResponse, False, True),
)
