# SPDX-License-Identifier: Apache-2.0
"""FakeKube: an API server in memory that the very ``kube.Client`` talks to, and that misbehaves on demand."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import msgspec
from aiohttp import web

from ashore import kube
from ashore.testing import kube_store, kube_watch

_ANYTHING_GOES = 1 << 26
"""Bytes of a request body that are accepted."""


@dataclass(frozen=True)
class Attempt:
    """A write that admission may deny."""

    verb: str
    resource: kube_store.Resource
    key: kube_store.Key
    subresource: str
    body: Mapping[str, Any]


@dataclass
class Faults:
    """What the server does wrong, as the test sets it."""

    answers: list[web.Response] = field(default_factory=list)
    """Given, one each, instead of answers to the next requests."""
    deny: Callable[[Attempt], str | None] = lambda _: None
    """An admission policy: the reason why a write is forbidden, or None."""
    watch_list_refused: bool = False
    """Answers sendInitialEvents as servers without WatchList do."""

    def fail(self, times: int = 1, *, status: int = 500, retry_after_s: int | None = None) -> None:
        """The next requests get this status."""
        headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
        self.answers += [_status(status, "Told", "told to fail", headers) for _ in range(times)]

    def garble(self, times: int = 1) -> None:
        """The next requests get 200 and a body that is no JSON."""
        self.answers += [web.Response(body=b"<html>it works!</html>") for _ in range(times)]


class FakeKube:
    """An API server for tests, used as ``async with FakeKube() as fake``.

    Namespaces and schemas aren't checked, and nobody runs controllers: a deleted pod with a node stays, marked, until
    it is deleted with no grace. ``url`` is the same after ``restart``.
    """

    def __init__(self, *, bookmark_s: float = 1.0) -> None:
        self.store = kube_store.Store()
        self.faults = Faults()
        self.requests: list[tuple[str, str]] = []
        """(method, path and query) of all requests so far."""
        self.watches = kube_watch.Watches(self.store, bookmark_s=bookmark_s)
        self._lists: dict[str, list[kube_store.Json]] = {}
        self._port = 0
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"

    def client(self, *, timeouts: kube.Timeouts | None = None) -> kube.Client:
        """A client of this server; the caller closes it."""
        return kube.Client(kube.Unauthenticated(self.url), timeouts=timeouts or kube.Timeouts())

    async def start(self) -> None:
        """Listens, on the same port as before if there was one."""
        application = web.Application(client_max_size=_ANYTHING_GOES)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True).start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Refuses and drops connections; keeps the objects."""
        if self._runner:
            self.watches.cut()
            await self._runner.cleanup()
            self._runner = None

    async def restart(self) -> None:
        """Stops and starts; history is forgotten, as a restarted API server's watch cache is."""
        await self.stop()
        self.store.compact()
        await self.start()

    def compact(self) -> None:
        """Forgets history and lists begun: what is older gets 410."""
        self.store.compact()
        self._lists.clear()

    def put(self, kind: kube.Kind[Any], body: Any) -> None:
        """Arranges an object, status included, without asking admission. ``body``: its struct or JSON."""
        content = msgspec.to_builtins(body)
        self.store.put(_resource(kind), content["metadata"].get("namespace", ""), content)

    def remove(self, kind: kube.Kind[Any], name: str, namespace: str = "") -> None:
        """Deletes an object at once, as after its grace period."""
        self.store.delete(_resource(kind), kube_store.Key(namespace, name), {"gracePeriodSeconds": 0})

    def read(self, kind: kube.Kind[kube.T], name: str, namespace: str = "") -> kube.T:
        """The object as it is stored now."""
        found = self.store.get(_resource(kind), kube_store.Key(namespace, name))
        return msgspec.convert(found, kind.type)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path_qs))
        if self.faults.answers:
            return self.faults.answers.pop(0)
        if request.path == "/version":
            return web.json_response({"major": "1", "minor": "99", "gitVersion": "v1.99.0-fake"})
        try:
            place = _Place.parse(request.path)
            if request.query.get("watch") in ("1", "true"):
                return await self._watch(request, place)
            return await self._answer(request, place)
        except kube_store.Rejection as rejection:
            after = rejection.retry_after_s
            headers = {} if after is None else {"Retry-After": str(after)}
            return _status(rejection.code, rejection.reason, rejection.message, headers)

    async def _watch(self, request: web.Request, place: "_Place") -> web.StreamResponse:
        if "sendInitialEvents" in request.query and self.faults.watch_list_refused:
            why = "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch"
            raise kube_store.Rejection(422, "Invalid", why)
        return await self.watches.serve(request, place.resource, _selector(request, place))

    async def _answer(self, request: web.Request, place: "_Place") -> web.Response:
        if request.method == "GET":
            if place.key.name:
                return web.json_response(self.store.get(place.resource, place.key))
            return self._list(request, place)
        text = await request.text()
        try:
            body = json.loads(text) if text else {}
        except ValueError as error:
            raise kube_store.Rejection(400, "BadRequest", str(error)) from error
        why = self.faults.deny(Attempt(request.method, place.resource, place.key, place.subresource, body))
        if why is not None:
            raise kube_store.Rejection(
                403, "Forbidden", f'{place.resource.plural} "{place.key.name}" is forbidden: {why}'
            )
        if request.method == "POST" and not place.key.name:
            return web.json_response(self.store.create(place.resource, place.key.namespace, body), status=201)
        if request.method == "PATCH":
            if request.content_type != "application/merge-patch+json":
                raise kube_store.Rejection(415, "UnsupportedMediaType", f"{request.content_type}: not in this fake")
            return web.json_response(self.store.patch(place.resource, place.key, place.subresource, body))
        if request.method == "PUT":
            return web.json_response(self.store.update(place.resource, place.key, place.subresource, body))
        if request.method == "DELETE":
            return web.json_response(self.store.delete(place.resource, place.key, body))
        raise kube_store.Rejection(405, "MethodNotAllowed", f"{request.method}: not in this fake")

    def _list(self, request: web.Request, place: "_Place") -> web.Response:
        token = request.query.get("continue", "")
        if token and token not in self._lists:
            raise kube_store.Rejection(410, "Expired", "The provided continue parameter is too old")
        version = token.partition(".")[0] or str(self.store.version)
        items = self._lists.pop(token) if token else self.store.list(place.resource, _selector(request, place))
        limit = int(request.query.get("limit", "0")) or len(items)
        metadata = {"resourceVersion": version}
        if len(items) > limit:
            metadata["continue"] = f"{version}.{len(self.requests)}"
            self._lists[metadata["continue"]] = items[limit:]
        return web.json_response({"metadata": metadata, "items": items[:limit]})


@dataclass(frozen=True)
class _Place:
    """What a path means."""

    resource: kube_store.Resource
    key: kube_store.Key
    subresource: str

    @classmethod
    def parse(cls, path: str) -> Self:
        match path.strip("/").split("/"):
            case ["api", "v1", *rest]:
                group = ""
            case ["apis", group, _, *rest]:
                pass
            case _:
                raise kube_store.Rejection(404, "NotFound", f"{path}: the server could not find the requested resource")
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):  # noqa: PLR2004 (namespaces/NAME/plural)
            namespace, rest = rest[1], rest[2:]
        plural, name, subresource, *_ = (*rest, "", "")
        return cls(kube_store.Resource(group, plural), kube_store.Key(namespace, name), subresource)


def _selector(request: web.Request, place: _Place) -> Callable[[kube_store.Json], bool]:
    return kube_watch.selector(
        place.key.namespace, request.query.get("fieldSelector", ""), request.query.get("labelSelector", "")
    )


def _resource(kind: kube.Kind[Any]) -> kube_store.Resource:
    return kube_store.Resource(kind.group, kind.plural)


def _status(code: int, reason: str, message: str, headers: Mapping[str, str]) -> web.Response:
    body = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}
    return web.json_response(body, status=code, headers=headers)
