# SPDX-License-Identifier: Apache-2.0
"""The verbs: get, list, create, patch, delete, and the raw watch that the informer stands on."""

import asyncio
import contextlib
import pathlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

import msgspec

from ashore.kube import credentials, errors, objects, transport
from ashore.kube.kinds import Kind, ObjectKey, T

S = TypeVar("S")

_PAGE = 500
_THROTTLED_TRIES = 4
_LONGEST_WAIT_S = 10.0
_HTTP_ERROR = 400


class _ListMeta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class _RawList(msgspec.Struct, frozen=True):
    metadata: _ListMeta
    items: list[msgspec.Raw] | None = None


class _OnlyMeta(msgspec.Struct, frozen=True):
    metadata: objects.ObjectMeta


class _Version(msgspec.Struct, frozen=True, rename="camel"):
    git_version: str


@dataclass(frozen=True)
class Broken:
    """An object that can't be decoded; ``key`` is None when not even its metadata can."""

    key: ObjectKey | None
    resource_version: str
    why: str


@dataclass(frozen=True)
class Page(Generic[T]):
    """One page of a list."""

    items: tuple[T, ...]
    broken: tuple[Broken, ...]
    resource_version: str


@dataclass(frozen=True)
class Selection:
    """Which objects of a kind; empty: all."""

    namespace: str = ""
    field_selector: str = ""
    label_selector: str = ""

    def params(self) -> dict[str, str]:
        """As query parameters."""
        both = {"fieldSelector": self.field_selector, "labelSelector": self.label_selector}
        return {key: value for key, value in both.items() if value}


class Client:
    """One identity at one cluster's API servers.

    Usable in the event loop that first used it. Every verb raises an ``ApiError`` that names the object; a 429 is
    waited out as the server asks, up to four times.
    """

    def __init__(
        self,
        login: credentials.Login,
        *,
        servers: Sequence[str] = (),
        timeouts: transport.Timeouts = transport.DEFAULT_TIMEOUTS,
    ) -> None:
        self.transport = transport.Transport(login, servers=servers, timeouts=timeouts)

    @classmethod
    def from_kubeconfig(
        cls,
        path: pathlib.Path | str,
        *,
        servers: Sequence[str] = (),
        timeouts: transport.Timeouts = transport.DEFAULT_TIMEOUTS,
    ) -> Self:
        """A client for a kubeconfig's current context; ``servers``, tried in turn, override its server.

        The file and those it refers to are looked at with each request, so rotated credentials are taken up.
        """
        return cls(credentials.Kubeconfig(pathlib.Path(path)), servers=servers, timeouts=timeouts)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes all connections."""
        await self.transport.close()

    async def get(self, kind: Kind[T], name: str, namespace: str = "") -> T:
        """The object.

        Raises:
            NotFound: there is none.
        """
        target = kind.describe(namespace, name)
        return _decode(kind, target, await self._ask(transport.Request("GET", kind.path(namespace, name), target)))

    async def list(
        self, kind: Kind[T], *, namespace: str = "", field_selector: str = "", label_selector: str = ""
    ) -> AsyncGenerator[T, None]:
        """Each object that matches, asked for page by page.

        Raises:
            Undecodable: one of them isn't what its kind promises.
        """
        async for page in self.pages(kind, Selection(namespace, field_selector, label_selector)):
            for broken in page.broken:
                raise errors.Undecodable(f"{kind.plural} {broken.key or '?'}", broken.why)
            for item in page.items:
                yield item

    async def pages(self, kind: Kind[T], selection: Selection, *, limit: int = _PAGE) -> AsyncGenerator[Page[T], None]:
        """The list in pages of one consistent state; objects that can't be decoded are set apart."""
        target = kind.describe(selection.namespace)
        params = {**selection.params(), "limit": str(limit)}
        while True:
            path = kind.path(selection.namespace)
            body = await self._ask(transport.Request("GET", path, f"list of {target}", params))
            raw = _decode_as(_RawList, f"list of {target}", body)
            decoded = [decode_item(kind, item) for item in raw.items or ()]
            yield Page(
                tuple(item for item in decoded if not isinstance(item, Broken)),
                tuple(item for item in decoded if isinstance(item, Broken)),
                raw.metadata.resource_version,
            )
            if not raw.metadata.continue_:
                return
            params["continue"] = raw.metadata.continue_

    async def create(self, kind: Kind[T], body: T | Mapping[str, Any], namespace: str = "") -> T:
        """The object as created; ``apiVersion`` and ``kind`` are filled in.

        Raises:
            AlreadyExists: there is one of that name.
        """
        content = msgspec.to_builtins(body)
        metadata = content.get("metadata", {})
        namespace = namespace or metadata.get("namespace", "")
        target = kind.describe(namespace, metadata.get("name") or metadata.get("generateName", ""))
        encoded = msgspec.json.encode({"apiVersion": kind.api_version, "kind": kind.type.__name__, **content})
        answer = await self._ask(transport.Request("POST", kind.path(namespace), target, body=encoded))
        return _decode(kind, target, answer)

    async def patch(  # noqa: PLR0913 (an object's name and the patch's parts, each of its own type)
        self,
        kind: Kind[T],
        name: str,
        namespace: str,
        body: Mapping[str, Any],
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        subresource: str | None = None,
        field_manager: str | None = None,
    ) -> T:
        """The object after a JSON merge patch (RFC 7386: a null removes a key, a list is replaced as a whole).

        ``subresource`` is the kind's ``patched_through`` unless given ("" means the object itself).

        Raises:
            Conflict: the object's uid or resourceVersion isn't the one given.
        """
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        metadata = {key: value for key, value in preconditions.items() if value is not None}
        content = {**body, "metadata": {**body.get("metadata", {}), **metadata}} if metadata else body
        target = kind.describe(namespace, name)
        path = kind.path(namespace, name, kind.patched_through if subresource is None else subresource)
        params = {"fieldManager": field_manager} if field_manager else None
        encoded = msgspec.json.encode(content)
        request = transport.Request("PATCH", path, target, params, encoded, "application/merge-patch+json")
        try:
            return _decode(kind, target, await self._ask(request))
        except errors.Invalid as error:
            # A uid that differs is answered as an attempt to change an immutable field, in some versions with 422.
            if uid is not None and "uid" in error.message.lower():
                raise errors.Conflict(target, error.message, status=error.status) from error
            raise

    async def delete(
        self, kind: Kind[T], name: str, namespace: str = "", *, uid: str | None = None, grace_s: int | None = None
    ) -> None:
        """Deletes the object, or marks it for deletion when it has finalizers or a grace period.

        Raises:
            NotFound: there is none.
            Conflict: it isn't the one with this uid.
        """
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        target = kind.describe(namespace, name)
        encoded = msgspec.json.encode(options)
        await self._ask(transport.Request("DELETE", kind.path(namespace, name), target, body=encoded))

    async def server_version(self) -> str:
        """What the server calls itself, e.g. ``v1.37.2``."""
        target = "server version"
        return _decode_as(_Version, target, await self._ask(transport.Request("GET", "/version", target))).git_version

    @contextlib.asynccontextmanager
    async def watch(
        self, kind: Kind[T], selection: Selection, params: Mapping[str, str]
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The lines of a watch; ``params`` say where it begins. For ``Informer``."""
        target = f"watch of {kind.describe(selection.namespace)}"
        query = {**selection.params(), "watch": "1", "allowWatchBookmarks": "true", **params}
        request = transport.Request("GET", kind.path(selection.namespace), target, query)
        async with self.transport.stream(request) as (status, chunks):
            if status >= _HTTP_ERROR:
                raise _failure(target, status, {}, b"".join([chunk async for chunk in chunks]))
            yield _lines(chunks)

    async def _ask(self, request: transport.Request) -> bytes:
        waited = 0
        while True:
            status, headers, body = await self.transport.send(request)
            if status < _HTTP_ERROR:
                return body
            error = _failure(request.target, status, headers, body)
            waited += 1
            # The server refused to look at a throttled request, so it can be sent again whatever its verb.
            if not isinstance(error, errors.Throttled) or waited == _THROTTLED_TRIES:
                raise error
            await asyncio.sleep(min(error.retry_after_s, _LONGEST_WAIT_S))


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Whole lines only: what a cut connection leaves of the last one is dropped."""
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line


def decode_item(kind: Kind[T], raw: msgspec.Raw) -> T | Broken:
    """An object, or what is wrong with it."""
    try:
        item = msgspec.json.decode(raw, type=kind.type)
    except errors.NOT_AN_ANSWER as error:
        why = str(error)
    else:
        return item if item.metadata.name else Broken(None, "", "it has no metadata.name")
    try:
        metadata = msgspec.json.decode(raw, type=_OnlyMeta).metadata
    except errors.NOT_AN_ANSWER:
        return Broken(None, "", why)
    if not metadata.name:
        return Broken(None, metadata.resource_version, why)
    return Broken(ObjectKey(metadata.namespace, metadata.name), metadata.resource_version, why)


def _decode(kind: Kind[T], target: str, body: bytes) -> T:
    return _decode_as(kind.type, target, body)


def _decode_as(expected: type[S], target: str, body: bytes) -> S:
    try:
        return msgspec.json.decode(body, type=expected)
    except errors.NOT_AN_ANSWER as error:
        raise errors.Undecodable(target, f"the server's answer can't be understood: {error}") from error


def _failure(target: str, status: int, headers: Mapping[str, str], body: bytes) -> errors.ApiError:
    try:
        fault = msgspec.json.decode(body, type=errors.Fault)
    except errors.NOT_AN_ANSWER:
        fault = errors.Fault(message=body.decode(errors="replace").strip()[:300])
    return errors.classify(
        target, msgspec.structs.replace(fault, code=status), retry_after_s=_seconds(headers.get("Retry-After", ""))
    )


def _seconds(text: str) -> float:
    if not (text.isascii() and text.isdigit()):
        return 0
    return min(int(text[:9]), errors.LONGEST_RETRY_AFTER_S)
