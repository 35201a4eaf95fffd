# SPDX-License-Identifier: Apache-2.0
"""The only door to API servers: a client with few verbs, an informer, and the parts of objects that ashore reads.

Admission rule: what speaks HTTP to a kube-apiserver, and nothing that decides. Objects are partial: a field enters
``objects`` when somebody reads it. Knows no OVN, no annotation's meaning, no other door.
"""

from ashore.kube.client import Client, Page, Selection
from ashore.kube.credentials import Login, Unauthenticated
from ashore.kube.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Denied,
    Gone,
    Invalid,
    NotFound,
    ServerError,
    Throttled,
    Undecodable,
    Unreachable,
)
from ashore.kube.events import publish_event
from ashore.kube.informer import Informer
from ashore.kube.kinds import (
    CUSTOM_RESOURCE_DEFINITIONS,
    ENDPOINT_SLICES,
    EVENTS,
    LEASES,
    NAMESPACES,
    NETWORK_CONFIGS,
    NODES,
    PODS,
    SERVICE_ACCOUNTS,
    SERVICES,
    Kind,
    ObjectKey,
    T,
    key_of,
)
from ashore.kube.transport import Timeouts

__all__ = [
    "CUSTOM_RESOURCE_DEFINITIONS",
    "ENDPOINT_SLICES",
    "EVENTS",
    "LEASES",
    "NAMESPACES",
    "NETWORK_CONFIGS",
    "NODES",
    "PODS",
    "SERVICES",
    "SERVICE_ACCOUNTS",
    "AlreadyExists",
    "ApiError",
    "Client",
    "Conflict",
    "Denied",
    "Gone",
    "Informer",
    "Invalid",
    "Kind",
    "Login",
    "NotFound",
    "ObjectKey",
    "Page",
    "Selection",
    "ServerError",
    "T",
    "Throttled",
    "Timeouts",
    "Unauthenticated",
    "Undecodable",
    "Unreachable",
    "key_of",
    "publish_event",
]
