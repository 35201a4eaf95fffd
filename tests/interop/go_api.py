# SPDX-License-Identifier: Apache-2.0
"""The API as client-go gives it to the Go halves: whole objects put back, conflicts tried again."""

import datetime as dt
import json
from collections.abc import Callable
from typing import Any

from ashore import kube
from ashore.kube import transport

Clock = Callable[[], dt.datetime]
Change = Callable[[dict[str, str]], dict[str, str | None]]
"""From an object's annotations to those that change; None takes one away."""


class Refused(Exception):  # noqa: N818 (an answer)
    """The API's answer with its code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


class GoApi:
    """A client of the counterpart's; ``by_patch`` makes it write pods as ``kubectl annotate`` does."""

    def __init__(self, client: kube.Client, *, by_patch: bool = False) -> None:
        self.client = client
        self.by_patch = by_patch

    async def get(self, kind: kube.Kind[Any], name: str, namespace: str = "") -> Any:
        """The whole object as JSON."""
        return await self._ask("GET", kind.path(namespace, name))

    async def update(self, kind: kube.Kind[Any], name: str, namespace: str, change: Change, *, status: str) -> None:
        """UpdateStatus with retry.RetryOnConflict; nothing is written where nothing changes."""
        path = kind.path(namespace, name)
        for _ in range(5):
            whole = await self._ask("GET", path)
            notes = whole["metadata"].setdefault("annotations", {})
            changes = change(dict(notes))
            if not changes:
                return
            if self.by_patch:
                await self.annotate(kind, name, namespace, changes)
                return
            kept = {key: value for key, value in {**notes, **changes}.items() if value is not None}
            whole["metadata"]["annotations"] = kept
            try:
                await self._ask("PUT", f"{path}{status}", whole)
            except Refused as refused:
                if refused.code != 409:
                    raise
            else:
                return
        raise Refused(409, path)

    async def annotate(
        self, kind: kube.Kind[Any], name: str, namespace: str, changes: dict[str, str | None]
    ) -> None:  # fmt: skip
        """``kubectl annotate``: a merge patch of the object itself."""
        body = {"metadata": {"annotations": changes}}
        await self._ask("PATCH", kind.path(namespace, name), body, "application/merge-patch+json")

    async def put(self, kind: kube.Kind[Any], whole: Any) -> None:
        """Update of a whole object."""
        await self._ask("PUT", kind.path(whole["metadata"].get("namespace", ""), whole["metadata"]["name"]), whole)

    async def create(self, kind: kube.Kind[Any], whole: Any) -> None:
        """Create."""
        whole = {"apiVersion": kind.api_version, "kind": kind.type.__name__, **whole}
        await self._ask("POST", kind.path(whole["metadata"].get("namespace", "")), whole)

    async def _ask(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        encoded = None if body is None else json.dumps(body).encode()
        request = transport.Request(method, path, path, body=encoded, content_type=content_type)
        code, _, answer = await self.client.transport.send(request)
        if code >= 400:
            raise Refused(code, answer.decode()[:200])
        return json.loads(answer)


class GoLease:
    """The lease as both halves keep it: clocks are compared, so they have to agree."""

    HOLDER = "ovnkube-dpu-node"

    def __init__(self, api: GoApi, node: str, clock: Clock, *, renew_s: int = 10, duration_s: int = 40) -> None:
        self._api = api
        self._node = node
        self._clock = clock
        self.renew_s = renew_s
        self.duration_s = duration_s

    async def read(self) -> Any:
        """The lease. Raises Refused."""
        return await self._api.get(kube.LEASES, f"ovn-dpu-{self._node}", "ovn-kubernetes")

    async def renew(self) -> None:
        """Renews it, or makes it: a DPU every 10 s, and a host once at its start."""
        node = await self._api.get(kube.NODES, self._node)
        try:
            whole = await self.read()
        except Refused as refused:
            if refused.code != 404:
                raise
            metadata = {"name": f"ovn-dpu-{self._node}", "namespace": "ovn-kubernetes"}
            await self._api.create(kube.LEASES, self._renewed({"metadata": metadata, "spec": {}}, node))
            return
        await self._api.put(kube.LEASES, self._renewed(whole, node))

    async def expiry(self) -> dt.datetime:
        """When it ends by what stands in it. Raises Refused, KeyError."""
        spec = (await self.read())["spec"]
        return dt.datetime.fromisoformat(spec["renewTime"]) + dt.timedelta(seconds=spec["leaseDurationSeconds"])

    def _renewed(self, whole: Any, node: Any) -> Any:
        now = self._clock().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        whole["spec"] |= {"holderIdentity": self.HOLDER, "leaseDurationSeconds": self.duration_s, "renewTime": now}
        whole["spec"].setdefault("acquireTime", now)
        owners = whole["metadata"].setdefault("ownerReferences", [])
        if not any(owner["uid"] == node["metadata"]["uid"] for owner in owners):
            owner = {"apiVersion": "v1", "kind": "Node", "name": self._node, "uid": node["metadata"]["uid"]}
            owners.append(owner | {"controller": True, "blockOwnerDeletion": True})
        return whole
