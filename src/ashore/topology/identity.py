# SPDX-License-Identifier: Apache-2.0
"""How planned rows are named, found again and told from foreign ones."""

from ashore.api import names, net
from ashore.schema import nb, row
from ashore.topology.view import NodeView

OWNER = names.OWNER

CLUSTER_OWNER = "cluster"


def node_owner(node: net.NodeName) -> str:
    """The owner mark of a node's rows."""
    return f"node/{node}"


def pod_owner(pod: net.PodKey) -> str:
    """The owner mark of a pod's rows."""
    return f"pod/{pod.namespace}/{pod.name}"


def node_row(zone: str, table: row.Table, node: NodeView, *, part: str = "") -> row.Uuid:
    """The identity of a node's row.

    The node's UID is in it: a node that comes again under its name may come with another subnet, and rows of the old
    one must go rather than change under pods that still refer to them.
    """
    return row.row_id(zone, table.name, f"node/{node.name}/{node.uid}/{part}")


def cluster_row(zone: str, table: row.Table, name: str) -> row.Uuid:
    """The identity of a row that the cluster has once."""
    return row.row_id(zone, table.name, f"cluster/{name}")


def pod_row(zone: str, table: row.Table, pod_uid: str) -> row.Uuid:
    """The identity of a pod's port: its UID, so that a pod made again under its name gets another port."""
    return row.row_id(zone, table.name, f"pod/{pod_uid}")


def switch(zone: str, node: NodeView) -> row.Uuid:
    """A node's switch."""
    return node_row(zone, nb.LogicalSwitch.TABLE, node)


def cluster_router(zone: str) -> row.Uuid:
    """The cluster's router."""
    return cluster_row(zone, nb.LogicalRouter.TABLE, names.CLUSTER_ROUTER)


def node_mark(node: NodeView) -> dict[str, str]:
    """external_ids of a node's rows."""
    return {OWNER: node_owner(node.name)}


def gateway_router(zone: str, node: NodeView) -> row.Uuid:
    """A node's gateway router."""
    return node_row(zone, nb.LogicalRouter.TABLE, node, part="gateway")


def lb_group(zone: str, name: str) -> row.Uuid:
    """A group of load balancers that the cluster has once."""
    return cluster_row(zone, nb.LoadBalancerGroup.TABLE, name)


def has_group(zone: str, table: row.Table, uuid: row.Uuid, group: str) -> row.Member:
    """A switch or router has the load balancers of a group."""
    return row.Member(table.name, uuid, "load_balancer_group", lb_group(zone, group))
