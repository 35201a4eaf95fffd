# SPDX-License-Identifier: Apache-2.0
"""Which kinds exist for ashore, where the API serves them, and as what they are decoded."""

from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

from ashore.kube import objects


class HasMetadata(Protocol):
    """Any object of the API."""

    @property
    def metadata(self) -> objects.ObjectMeta:
        """Its metadata."""


T = TypeVar("T", bound=HasMetadata)


class ObjectKey(NamedTuple):
    """Names one object of a kind; ``namespace`` is empty for cluster-scoped ones."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True)
class Kind(Generic[T]):
    """A resource of the API. ``type.__name__`` is its Kubernetes ``kind``."""

    group: str
    version: str
    plural: str
    type: type[T]
    namespaced: bool
    patched_through: str = ""
    """The subresource that ``Client.patch`` uses unless told: "status" where our rights end there."""

    @property
    def api_version(self) -> str:
        """What ``apiVersion`` says, e.g. ``coordination.k8s.io/v1``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The path of a collection (no name) or of an object; no namespace: all of them."""
        parts = ["", "apis" if self.group else "api", self.api_version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/".join(parts)

    def describe(self, namespace: str = "", name: str = "") -> str:
        """How messages call an object (``pod default/web-1``) or a collection (``pods``)."""
        if not name:
            return f"{self.plural} of {namespace}" if namespace else self.plural
        return f"{self.type.__name__.lower()} {ObjectKey(namespace, name)}"


def key_of(thing: HasMetadata) -> ObjectKey:
    """An object's key."""
    return ObjectKey(thing.metadata.namespace, thing.metadata.name)


PODS = Kind("", "v1", "pods", objects.Pod, namespaced=True, patched_through="status")
NODES = Kind("", "v1", "nodes", objects.Node, namespaced=False, patched_through="status")
LEASES = Kind("coordination.k8s.io", "v1", "leases", objects.Lease, namespaced=True)
EVENTS = Kind("", "v1", "events", objects.Event, namespaced=True)
NAMESPACES = Kind("", "v1", "namespaces", objects.Namespace, namespaced=False)
SERVICE_ACCOUNTS = Kind("", "v1", "serviceaccounts", objects.ServiceAccount, namespaced=True)
NETWORK_CONFIGS = Kind(
    "dpu.ashore.dev", "v1alpha1", "networkconfigs", objects.NetworkConfig, namespaced=False, patched_through="status"
)
SERVICES = Kind("", "v1", "services", objects.Service, namespaced=True)
ENDPOINT_SLICES = Kind("discovery.k8s.io", "v1", "endpointslices", objects.EndpointSlice, namespaced=True)
CUSTOM_RESOURCE_DEFINITIONS = Kind(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", objects.CustomResourceDefinition, namespaced=False
)
