# SPDX-License-Identifier: Apache-2.0
"""The parts of Kubernetes objects that ashore reads or writes.

Everything else in an object is skipped while decoding, which is what makes 20,000 pods cheap. Times are RFC 3339 text.
A struct's name is its Kubernetes ``kind``.
"""

from collections.abc import Mapping

import msgspec

from ashore.api.config import NetworkConfigSpec


class ObjectMeta(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """meta/v1 ObjectMeta."""

    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    annotations: Mapping[str, str] = msgspec.field(default_factory=dict)
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)


class Condition(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """A condition of a pod, a node or one of our own objects."""

    type: str
    status: str = ""
    reason: str = ""
    message: str = ""
    observed_generation: int = 0
    last_transition_time: str | None = None


class ContainerPort(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """core/v1 ContainerPort."""

    container_port: int = 0
    host_port: int = 0
    host_ip: str = msgspec.field(name="hostIP", default="")
    name: str = ""
    protocol: str = "TCP"


class Container(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """core/v1 Container, its ports."""

    name: str = ""
    image: str = ""
    ports: tuple[ContainerPort, ...] = ()


class PodSpec(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """core/v1 PodSpec."""

    node_name: str = ""
    host_network: bool = False
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()


class PodIp(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """core/v1 PodIP."""

    ip: str = ""


class PodStatus(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """core/v1 PodStatus."""

    phase: str = ""
    pod_ips: tuple[PodIp, ...] = msgspec.field(name="podIPs", default=())
    conditions: tuple[Condition, ...] = ()


class Pod(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """core/v1 Pod."""

    metadata: ObjectMeta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class Taint(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """core/v1 Taint."""

    key: str
    effect: str
    value: str = ""
    time_added: str | None = None
    """Set by the API for NoExecute; kept, since a merge patch replaces the list of taints as a whole."""


class NodeSpec(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """core/v1 NodeSpec."""

    taints: tuple[Taint, ...] = ()
    unschedulable: bool = False


class NodeAddress(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """core/v1 NodeAddress."""

    type: str
    address: str


class NodeStatus(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """core/v1 NodeStatus."""

    addresses: tuple[NodeAddress, ...] = ()
    conditions: tuple[Condition, ...] = ()


class Node(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """core/v1 Node."""

    metadata: ObjectMeta
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


class LeaseSpec(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """coordination/v1 LeaseSpec; times have microseconds."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class Lease(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """coordination/v1 Lease."""

    metadata: ObjectMeta
    spec: LeaseSpec = LeaseSpec()


class ObjectReference(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """core/v1 ObjectReference."""

    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""


class EventSource(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """core/v1 EventSource."""

    component: str = ""
    host: str = ""


class Event(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """core/v1 Event."""

    metadata: ObjectMeta
    involved_object: ObjectReference = ObjectReference()
    reason: str = ""
    message: str = ""
    type: str = ""
    count: int = 0
    source: EventSource = EventSource()
    first_timestamp: str | None = None
    last_timestamp: str | None = None


class NetworkConfigStatus(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """What the controller says about a NetworkConfig."""

    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()
    in_force: NetworkConfigSpec | None = None
    """The settings that hold, which are not the spec's while that is invalid or would change CIDRs in use."""


class NetworkConfig(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """dpu.ashore.dev/v1alpha1 NetworkConfig."""

    metadata: ObjectMeta
    spec: NetworkConfigSpec
    status: NetworkConfigStatus = NetworkConfigStatus()


class CustomResourceDefinitionStatus(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """Whether a custom resource is served yet."""

    conditions: tuple[Condition, ...] = ()


class CustomResourceDefinition(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """apiextensions.k8s.io/v1 CustomResourceDefinition."""

    metadata: ObjectMeta
    status: CustomResourceDefinitionStatus = CustomResourceDefinitionStatus()


class Namespace(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """core/v1 Namespace."""

    metadata: ObjectMeta


class ServiceAccount(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """core/v1 ServiceAccount."""

    metadata: ObjectMeta


class ServicePort(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """core/v1 ServicePort; what it targets is in the endpoint slices."""

    name: str = ""
    protocol: str = "TCP"
    port: int = 0
    node_port: int = 0


class ServiceSpec(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """core/v1 ServiceSpec."""

    type: str = "ClusterIP"
    cluster_ip: str = msgspec.field(name="clusterIP", default="")
    cluster_ips: tuple[str, ...] = msgspec.field(name="clusterIPs", default=())
    external_ips: tuple[str, ...] = msgspec.field(name="externalIPs", default=())
    ports: tuple[ServicePort, ...] = ()
    session_affinity: str = "None"
    external_traffic_policy: str = ""
    internal_traffic_policy: str = ""


class LoadBalancerIngress(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """core/v1 LoadBalancerIngress; with ``ip_mode`` Proxy its traffic comes by another way."""

    ip: str = ""
    ip_mode: str = ""


class LoadBalancerStatus(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """core/v1 LoadBalancerStatus."""

    ingress: tuple[LoadBalancerIngress, ...] = ()


class ServiceStatus(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """core/v1 ServiceStatus."""

    load_balancer: LoadBalancerStatus = LoadBalancerStatus()


class Service(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """core/v1 Service."""

    metadata: ObjectMeta
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()


class EndpointConditions(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """discovery/v1 EndpointConditions; None is "not said": ready, serving as ready, not terminating."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class ForZone(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """discovery/v1 ForZone."""

    name: str


class EndpointHints(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """discovery/v1 EndpointHints."""

    for_zones: tuple[ForZone, ...] = ()


class Endpoint(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """discovery/v1 Endpoint; of several addresses the first counts."""

    addresses: tuple[str, ...] = ()
    conditions: EndpointConditions = EndpointConditions()
    node_name: str = ""
    hints: EndpointHints | None = None


class EndpointPort(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """discovery/v1 EndpointPort."""

    name: str | None = None
    protocol: str | None = None
    port: int | None = None


class EndpointSlice(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """discovery/v1 EndpointSlice: a part of a service's endpoints, of one family."""

    metadata: ObjectMeta
    address_type: str = "IPv4"
    endpoints: tuple[Endpoint, ...] | None = ()
    ports: tuple[EndpointPort, ...] | None = ()
