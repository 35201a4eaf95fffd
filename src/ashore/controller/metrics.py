# SPDX-License-Identifier: Apache-2.0
"""What the controller counts."""

from prometheus_client import Counter, Gauge, Histogram

LEADING = Gauge("ashore_controller_leading", "1 while this replica leads.")
NODES = Gauge("ashore_controller_nodes", "Nodes of our zone.")
PODS = Gauge("ashore_controller_pods", "Pods with addresses.")
WAITING_PODS = Gauge("ashore_controller_waiting_pods", "Pods that wait for a free address.")
FOREIGN_ROWS = Gauge("ashore_controller_foreign_rows", "Northbound rows that aren't ours.", ["table"])
QUEUE_LENGTH = Gauge("ashore_controller_queue_length", "Keys that wait or are being looked at.")
PROBLEMS = Gauge("ashore_controller_problems", "Keys whose last look didn't succeed.")
TRANSACTIONS = Counter("ashore_controller_transactions_total", "Northbound transactions.", ["outcome"])
ROWS_CHANGED = Counter("ashore_controller_operations_total", "Operations in northbound transactions that were done.")
API_WRITES = Counter("ashore_controller_api_writes_total", "Writes to the API server.", ["what", "outcome"])
PLAN_SECONDS = Histogram("ashore_controller_full_plan_seconds", "Time of a full plan with its diff.")
POD_SECONDS = Histogram(
    "ashore_controller_pod_ready_seconds",
    "From seeing a pod bound to address recorded and port written.",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5),
)
