# SPDX-License-Identifier: Apache-2.0
"""The watching half of FakeKube: streams of changes, selectors, bookmarks, and streams that go wrong."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from aiohttp import web

from ashore.testing import kube_store

Matches = Callable[[kube_store.Json], bool]


class Watches:
    """All open watches, to be stalled and cut by a test."""

    def __init__(self, store: kube_store.Store, *, bookmark_s: float) -> None:
        self.is_stalled = False
        """While set, watches stay open and say nothing."""
        self._store = store
        self._bookmark_s = bookmark_s
        self._open: dict[asyncio.Event, tuple[web.Request, web.StreamResponse]] = {}
        store.on_change(self._wake)

    @property
    def count(self) -> int:
        """How many are open."""
        return len(self._open)

    def cut(self) -> None:
        """Drops their connections without a word."""
        for request, _ in self._open.values():
            if request.transport:
                request.transport.abort()

    async def say(self, line: bytes) -> None:
        """Sends these bytes on all watches as they are: garbage, half an event."""
        for _, stream in tuple(self._open.values()):
            await stream.write(line)

    def _wake(self) -> None:
        for event in self._open:
            event.set()

    async def serve(self, request: web.Request, resource: kube_store.Resource, matches: Matches) -> web.StreamResponse:
        """A watch until its timeoutSeconds end or the client goes."""
        wants_state = request.query.get("sendInitialEvents") == "true"
        start = request.query.get("resourceVersion", "")
        if start not in ("", "0") and not wants_state and int(start) < self._store.compacted:
            raise kube_store.Rejection(410, "Expired", f"too old resource version: {start} ({self._store.compacted})")
        stream = web.StreamResponse(headers={"Content-Type": "application/json"})
        await stream.prepare(request)
        news = asyncio.Event()
        self._open[news] = request, stream
        try:
            async with asyncio.timeout(float(request.query.get("timeoutSeconds", "1800"))):
                since = self._store.version if wants_state or start in ("", "0") else int(start)
                if wants_state or start in ("", "0"):
                    await self._send_state(stream, resource, matches, is_marked=wants_state)
                await self._follow(stream, resource, matches, since, news)
        except (TimeoutError, ConnectionError):
            pass
        finally:
            self._open.pop(news, None)
        return stream

    async def _send_state(
        self, stream: web.StreamResponse, resource: kube_store.Resource, matches: Matches, *, is_marked: bool
    ) -> None:
        version = self._store.version
        for item in self._store.list(resource, matches):
            await _send(stream, "ADDED", item)
        if is_marked:
            await _send(stream, "BOOKMARK", _bookmark(version, {"k8s.io/initial-events-end": "true"}))

    async def _follow(
        self,
        stream: web.StreamResponse,
        resource: kube_store.Resource,
        matches: Matches,
        since: int,
        news: asyncio.Event,
    ) -> None:
        while True:
            news.clear()
            if not self.is_stalled:
                if since < self._store.compacted:
                    await _send(stream, "ERROR", {"code": 410, "reason": "Expired", "message": "too old"})
                    return
                since = await self._send_changes(stream, resource, matches, since)
            try:
                async with asyncio.timeout(self._bookmark_s):
                    await news.wait()
            except TimeoutError:
                if not self.is_stalled:
                    await _send(stream, "BOOKMARK", _bookmark(since, {}))

    async def _send_changes(
        self, stream: web.StreamResponse, resource: kube_store.Resource, matches: Matches, since: int
    ) -> int:
        until = self._store.version
        for change in tuple(self._store.since(since, resource)):
            was = change.old is not None and matches(change.old)
            is_ = change.new is not None and matches(change.new)
            if was or is_:
                verb = "MODIFIED" if was and is_ else "ADDED" if is_ else "DELETED"
                last = change.new or change.old or {}
                await _send(stream, verb, last)
        return until


def selector(namespace: str, fields: str, labels: str) -> Matches:
    """Whether an object is meant; fields: any path, with = and !=; labels: = and existence."""
    wanted_fields = [_parse(term) for term in fields.split(",") if term]
    wanted_labels = [_parse(term) for term in labels.split(",") if term]

    def matches(item: kube_store.Json) -> bool:
        if namespace and item["metadata"].get("namespace") != namespace:
            return False
        if any((_at(item, path) == value) is not equal for path, equal, value in wanted_fields):
            return False
        held = item["metadata"].get("labels", {})
        return all(
            (held.get(key) == value) is equal if value is not None else key in held
            for key, equal, value in wanted_labels
        )

    return matches


def _parse(term: str) -> tuple[str, bool, str | None]:
    if "=" not in term:
        return term, True, None
    path, _, value = term.partition("=")
    return path.rstrip("!"), not path.endswith("!"), value.lstrip("=")


def _at(item: kube_store.Json, path: str) -> str:
    value: Any = item
    for part in path.split("."):
        value = value.get(part, "") if isinstance(value, dict) else ""
    return str(value)


def _bookmark(version: int, annotations: dict[str, str]) -> kube_store.Json:
    return {"metadata": {"resourceVersion": str(version), "annotations": annotations}}


async def _send(stream: web.StreamResponse, verb: str, item: kube_store.Json) -> None:
    await stream.write(json.dumps({"type": verb, "object": item}).encode() + b"\n")
