# SPDX-License-Identifier: Apache-2.0
"""Names that people and other programs see: OVN objects, netdevs, leases, identities. As ovn-kubernetes has them."""

from ashore.api.net import NodeName, PodKey

CLUSTER_ROUTER = "ovn_cluster_router"
MANAGEMENT_PORT = "ovn-k8s-mp0"
INTEGRATION_BRIDGE = "br-int"
EXTERNAL_BRIDGE = "br-ex"
PHYSICAL_NETWORK = "physnet"
DEFAULT_NETWORK = "default"
ZONE = "global"
LEASE_NAMESPACE = "ovn-kubernetes"
CONTROLLER_LEASE = "ashore-controller"
DPU_LEASE_HOLDER = "ovnkube-dpu-node"
DPU_GROUP = "ashore:dpus"
HOST_GROUP = "ashore:hosts"
CONTROLLER_USER = "ashore:controller"
API_GROUP = "dpu.ashore.dev"
VFS_EXHAUSTED_TAINT = "dpu.ashore.dev/vfs-exhausted"
OWNER = "dpu.ashore.dev/owner"
"""external_ids key of every northbound row that is ours; the value names the key that planned it."""
CLUSTER_LB_GROUP = "clusterLBGroup"
"""Load balancers of all node switches and all gateway routers."""
SWITCH_LB_GROUP = "clusterSwitchLBGroup"
"""Load balancers of all node switches."""
ROUTER_LB_GROUP = "clusterRouterLBGroup"
"""Load balancers of all gateway routers."""


def pod_port(pod: PodKey) -> str:
    """The logical switch port's name and the OVS interface's ``iface-id``."""
    return f"{pod.namespace}_{pod.name}"


def management_port(node: NodeName) -> str:
    """The logical switch port of a node's management port."""
    return f"k8s-{node}"


def switch_to_router(node: NodeName) -> str:
    """The switch's port to the cluster router."""
    return f"stor-{node}"


def router_to_switch(node: NodeName) -> str:
    """The cluster router's port to the node's switch."""
    return f"rtos-{node}"


def gateway_router(node: NodeName) -> str:
    """The router between the cluster router and the node's leg to the outside."""
    return f"GR_{node}"


def join_switch(node: NodeName) -> str:
    """The switch between the cluster router and a node's gateway router."""
    return f"join_{node}"


def external_switch(node: NodeName) -> str:
    """The switch between a node's gateway router and its external bridge."""
    return f"ext_{node}"


def localnet_port(node: NodeName) -> str:
    """The external switch's port to the bridge."""
    return f"{EXTERNAL_BRIDGE}_{node}"


def patch_port(localnet: str) -> str:
    """The external bridge's port to the integration bridge, as ovn-controller names it after the localnet port."""
    return f"patch-{localnet}-to-{INTEGRATION_BRIDGE}"


def dpu_lease(node: NodeName) -> str:
    """The lease by which a DPU shows that it serves its host."""
    return f"ovn-dpu-{node}"


def dpu_user(node: NodeName) -> str:
    """The user name of a DPU's certificate."""
    return f"ashore:dpu:{node}"


def host_user(node: NodeName) -> str:
    """The user name of a host agent's certificate."""
    return f"ashore:host:{node}"
