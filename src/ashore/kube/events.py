# SPDX-License-Identifier: Apache-2.0
"""Publishes what happened to an object where ``kubectl describe`` shows it."""

import datetime as dt
import hashlib

from ashore.kube import client as client_module
from ashore.kube import errors, kinds, objects

_TRIES = 5


async def publish_event(  # noqa: PLR0913 (an Event's contents, each named)
    client: client_module.Client,
    *,
    regarding: objects.ObjectReference,
    reason: str,
    message: str,
    type_: str = "Normal",
    component: str = "ashore",
) -> objects.Event:
    """The Event (core/v1); the same one published again raises its ``count``, as kubectl expects of repeated events.

    Its name is made of what it says, so repetition costs no search and two processes count together. ``type_`` is
    Normal or Warning. Cluster-scoped objects' events go to ``default``, as the kubelet's do.
    """
    namespace = regarding.namespace or "default"
    said = (regarding.kind, namespace, regarding.name, regarding.uid, reason, message, type_, component)
    identity = "\0".join(said)
    # An Event's name is a DNS subdomain of at most 253 characters.
    name = f"{regarding.name[:230]}.{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    event = objects.Event(
        metadata=objects.ObjectMeta(name=name, namespace=namespace),
        involved_object=regarding,
        reason=reason,
        message=message,
        type=type_,
        count=1,
        source=objects.EventSource(component=component),
        first_timestamp=now,
        last_timestamp=now,
    )
    return await _publish(client, event)


async def _publish(client: client_module.Client, event: objects.Event) -> objects.Event:
    name, namespace = event.metadata.name, event.metadata.namespace
    for _ in range(_TRIES):
        try:
            return await client.create(kinds.EVENTS, event)
        except errors.AlreadyExists:
            pass
        try:
            old = await client.get(kinds.EVENTS, name, namespace)
            return await client.patch(
                kinds.EVENTS,
                name,
                namespace,
                {"count": old.count + 1, "lastTimestamp": event.last_timestamp},
                resource_version=old.metadata.resource_version,
            )
        except (errors.NotFound, errors.Conflict) as error:
            lost = error  # it expired, or somebody counted at the same time: begin again
    raise lost
