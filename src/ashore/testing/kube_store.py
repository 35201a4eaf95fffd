# SPDX-License-Identifier: Apache-2.0
"""What an API server does to objects, in memory: versions, preconditions, patches, subresources, deletion."""

import copy
import datetime as dt
import itertools
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

Json = dict[str, Any]


class Resource(NamedTuple):
    """A collection, as the path names it."""

    group: str
    plural: str


class Key(NamedTuple):
    """One object in a collection."""

    namespace: str
    name: str


class Rejection(Exception):  # noqa: N818 (an answer, as the API gives it)
    """A request that the API server answers with a Status."""

    def __init__(self, code: int, reason: str, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class Change:
    """One step of history; ``new`` is None for a deletion, whose version is in ``old``."""

    version: int
    resource: Resource
    old: Json | None
    new: Json | None


# Objects whose status only `/status` may write. Core ones let `/status` change annotations too, custom ones don't.
_STATUS_OF_CORE = {Resource("", "pods"), Resource("", "nodes"), Resource("", "namespaces")}
_STATUS_OF_CUSTOM = {Resource("dpu.ashore.dev", "networkconfigs"), Resource("dpu.ashore.dev", "dpupairs")}


class Store:
    """All objects and their history. Methods raise ``Rejection``; what they return is the caller's own copy."""

    def __init__(self) -> None:
        self.version = 1
        self.compacted = 0
        self.history: list[Change] = []
        self._objects: dict[Resource, dict[Key, Json]] = {}
        self._listeners: list[Callable[[], None]] = []

    def on_change(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Calls ``listener`` after each change, until the returned function is called."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def compact(self) -> None:
        """Forgets history: watches from an older version get 410."""
        self.compacted = self.version
        self.history.clear()

    def list(self, resource: Resource, matches: Callable[[Json], bool]) -> list[Json]:
        """Matching objects in the order of their keys."""
        found = sorted(self._objects.get(resource, {}).items())
        return [copy.deepcopy(item) for _, item in found if matches(item)]

    def get(self, resource: Resource, key: Key) -> Json:
        """The object."""
        return copy.deepcopy(self._find(resource, key))

    def create(self, resource: Resource, namespace: str, body: Json) -> Json:
        """The object as stored."""
        new = copy.deepcopy(body)
        metadata = new.setdefault("metadata", {})
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"] + uuid.uuid4().hex[:5]
        if not metadata.get("name"):
            raise Rejection(422, "Invalid", f"{resource.plural}: metadata.name: Required value")
        if namespace:
            metadata["namespace"] = namespace
        key = Key(namespace, metadata["name"])
        if key in self._objects.get(resource, {}):
            raise Rejection(409, "AlreadyExists", f'{resource.plural} "{key.name}" already exists')
        metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": _now(), "generation": 1}
        if resource in _STATUS_OF_CUSTOM:
            new.pop("status", None)
        if resource.plural == "pods" and not resource.group:
            new["status"] = {"phase": "Pending"}
        return self._commit(resource, key, None, new)

    def patch(self, resource: Resource, key: Key, subresource: str, patch: Json) -> Json:
        """The object after a merge patch."""
        return self._change(resource, key, subresource, merge(self._find(resource, key), patch), patch)

    def update(self, resource: Resource, key: Key, subresource: str, body: Json) -> Json:
        """The object after it was replaced as a whole; a resourceVersion in it must be the object's."""
        self._find(resource, key)
        return self._change(resource, key, subresource, copy.deepcopy(body), body)

    def _change(self, resource: Resource, key: Key, subresource: str, new: Json, asked: Json) -> Json:
        old = self._find(resource, key)
        wanted = asked.get("metadata") or {}
        _check(resource, key, old, uid=wanted.get("uid"), version=wanted.get("resourceVersion"))
        _keep_apart(resource, subresource, old, new)
        for field in ("name", "namespace", "uid", "creationTimestamp", "resourceVersion", "generation"):
            if field in old["metadata"]:
                new["metadata"][field] = old["metadata"][field]
        if new == old:
            return copy.deepcopy(old)
        if new.get("spec") != old.get("spec"):
            new["metadata"]["generation"] = old["metadata"].get("generation", 1) + 1
        if new["metadata"].get("deletionTimestamp") and not new["metadata"].get("finalizers"):
            return self._commit(resource, key, old, None)
        return self._commit(resource, key, old, new)

    def put(self, resource: Resource, namespace: str, body: Json) -> Json:
        """Creates or replaces an object whole, status too: a test's way of arranging the world."""
        key = Key(namespace, body["metadata"]["name"])
        old = self._objects.get(resource, {}).get(key)
        if old is None:
            created = self.create(resource, namespace, body)
            if "status" not in body or created.get("status") == body["status"]:
                return created
            old = created
        kept = {field: old["metadata"][field] for field in ("uid", "creationTimestamp")}
        new = copy.deepcopy(body)
        new["metadata"] |= kept | ({"namespace": namespace} if namespace else {})
        return self._commit(resource, key, old, new)

    def delete(self, resource: Resource, key: Key, options: Mapping[str, Any]) -> Json:
        """The object as it was, or as it is now where a finalizer or a grace period keeps it."""
        old = self._find(resource, key)
        wanted = options.get("preconditions") or {}
        _check(resource, key, old, uid=wanted.get("uid"), version=wanted.get("resourceVersion"))
        is_running_pod = resource == ("", "pods") and old.get("spec", {}).get("nodeName")
        grace_s = options.get("gracePeriodSeconds", 30 if is_running_pod else 0)
        if not old["metadata"].get("finalizers") and not (is_running_pod and grace_s):
            return self._commit(resource, key, old, None)
        if old["metadata"].get("deletionTimestamp"):
            return copy.deepcopy(old)
        new = copy.deepcopy(old)
        new["metadata"] |= {"deletionTimestamp": _now(), "deletionGracePeriodSeconds": grace_s}
        return self._commit(resource, key, old, new)

    def since(self, version: int, resource: Resource) -> Iterator[Change]:
        """Later changes of a collection, oldest first."""
        later = itertools.dropwhile(lambda change: change.version <= version, self.history)
        return (change for change in later if change.resource == resource)

    def _find(self, resource: Resource, key: Key) -> Json:
        try:
            return self._objects[resource][key]
        except KeyError:
            raise Rejection(404, "NotFound", f'{resource.plural} "{key.name}" not found') from None

    def _commit(self, resource: Resource, key: Key, old: Json | None, new: Json | None) -> Json:
        self.version += 1
        last = copy.deepcopy(new if new is not None else old or {})
        last["metadata"]["resourceVersion"] = str(self.version)
        collection = self._objects.setdefault(resource, {})
        if new is None:
            collection.pop(key, None)
            change = Change(self.version, resource, last, None)
        else:
            collection[key] = last
            change = Change(self.version, resource, old, last)
        self.history.append(change)
        for listener in tuple(self._listeners):
            listener()
        return copy.deepcopy(last)


def merge(target: Any, patch: Any) -> Any:
    """A JSON merge patch applied (RFC 7386); neither argument changes."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return copy.deepcopy(result)


def _keep_apart(resource: Resource, subresource: str, old: Json, new: Json) -> None:
    """Takes back what this endpoint may not change."""
    has_status = resource in _STATUS_OF_CORE or resource in _STATUS_OF_CUSTOM
    if subresource == "status":
        if not has_status:
            raise Rejection(404, "NotFound", "the server could not find the requested resource")
        fixed = set(new.keys() | old.keys()) - {"status"}
        if resource in _STATUS_OF_CORE:
            fixed.discard("metadata")
    else:
        fixed = {"status"} if has_status else set()
    for field in fixed:
        if field in old:
            new[field] = copy.deepcopy(old[field])
        else:
            new.pop(field, None)


def _check(resource: Resource, key: Key, old: Json, *, uid: str | None, version: str | None) -> None:
    what = f'Operation cannot be fulfilled on {resource.plural} "{key.name}"'
    found = old["metadata"]
    if uid is not None and uid != found["uid"]:
        text = f"{what}: Precondition failed: UID in precondition: {uid}, UID in object meta: {found['uid']}"
        raise Rejection(409, "Conflict", text)
    if version is not None and version != found["resourceVersion"]:
        raise Rejection(
            409, "Conflict", f"{what}: the object has been modified; please apply your changes to the latest"
        )


def _now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
