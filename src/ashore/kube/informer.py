# SPDX-License-Identifier: Apache-2.0
"""A local copy of a kind's objects that follows the API server: list-watch."""

import asyncio
import contextlib
import random
import types
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Never, TypeVar

import msgspec
import structlog

from ashore.kube import client as client_module
from ashore.kube import errors, objects
from ashore.kube.kinds import Kind, ObjectKey, T, key_of

log = structlog.get_logger(__name__)
S = TypeVar("S")

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
_FIRST_BACKOFF_S = 0.1
_LONGEST_BACKOFF_S = 30.0
_FROM_THE_FUTURE = "too large resource version"
"""What a server says that was restored to a state older than ours (apiserver's NewTooLargeResourceVersionError)."""
_LEAST_S = 1.0
"""A server that ends a watch sooner, without an error, is asked again after a wait like one that fails."""
_STEADY_S = 10.0
"""A watch that held this long shows that the server works; the next failure starts with a short wait again."""


class _WatchEvent(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw = msgspec.Raw()


class _Bookmark(msgspec.Struct, frozen=True):
    metadata: objects.ObjectMeta


@dataclass(frozen=True)
class Statistics:
    """How an informer fared since it began."""

    syncs: int = 0
    """Complete states received, by list or by initial events."""
    failures: int = 0
    last_failure: str = ""


class Informer(Generic[T]):
    """Follows the objects of a kind; one that is deleted and created again is seen as both.

    Subscribers get (old, new): (None, new) for an addition, (old, None) for a deletion. The store is up to date when
    they are called. They must not block, and what they raise ends ``run``. An event missed while the server was away is
    made up from the difference after it.
    """

    def __init__(
        self,
        client: client_module.Client,
        kind: Kind[T],
        *,
        namespace: str = "",
        field_selector: str = "",
        label_selector: str = "",
    ) -> None:
        self.kind = kind
        self.synced = asyncio.Event()
        """Set once the store was complete for the first time; stays set through outages."""
        self.statistics = Statistics()
        self._client = client
        self._selection = client_module.Selection(namespace, field_selector, label_selector)
        self._store: dict[ObjectKey, T] = {}
        self._broken: dict[ObjectKey, str] = {}
        self._subscribers: list[Callable[[T | None, T | None], None]] = []
        self._version = ""
        self._is_fresh = True
        self._can_stream_state = True

    @property
    def store(self) -> Mapping[ObjectKey, T]:
        """The objects, live and read-only."""
        return types.MappingProxyType(self._store)

    @property
    def undecodable(self) -> Mapping[ObjectKey, str]:
        """Objects that aren't what their kind promises, and why; the store keeps their last good state."""
        return types.MappingProxyType(self._broken)

    def subscribe(self, callback: Callable[[T | None, T | None], None]) -> Callable[[], None]:
        """Calls ``callback`` at each change from now on, until the returned function is called."""
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    async def wait_for(self, key: ObjectKey, predicate: Callable[[T | None], bool], *, timeout_s: float) -> T | None:
        """The object, once the predicate holds for it (None: it doesn't exist).

        Raises:
            TimeoutError: names the object and the time.
        """
        if predicate(self._store.get(key)):
            return self._store.get(key)
        found: asyncio.Future[T | None] = asyncio.get_running_loop().create_future()

        def look(old: T | None, new: T | None) -> None:
            changed = new if new is not None else old
            if changed is not None and key_of(changed) == key and not found.done() and predicate(new):
                found.set_result(new)

        unsubscribe = self.subscribe(look)
        try:
            async with asyncio.timeout(timeout_s):
                return await found
        except TimeoutError as error:
            what = self.kind.describe(key.namespace, key.name)
            raise TimeoutError(f"{what}: not as wanted within {timeout_s:g} s") from error
        finally:
            unsubscribe()

    async def run(self) -> Never:
        """Follows for ever; a server that fails is asked again after a growing, random wait."""
        backoff_s = _FIRST_BACKOFF_S
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            try:
                await self._follow()
                if clock() - began > _LEAST_S:
                    continue
                wait_s = backoff_s * random.uniform(0.5, 1)  # noqa: S311 (spreads load)
            except errors.ApiError as error:
                wait_s = self._note(error, backoff_s)
            if clock() - began > _STEADY_S:
                backoff_s = _FIRST_BACKOFF_S
            await asyncio.sleep(wait_s)
            backoff_s = min(backoff_s * 2, _LONGEST_BACKOFF_S)

    def _note(self, error: errors.ApiError, backoff_s: float) -> float:
        before = self.statistics
        self.statistics = Statistics(before.syncs, before.failures + 1, str(error))
        if isinstance(error, errors.Invalid) and self._can_stream_state and self._is_fresh:
            log.info("watch-list-refused", kind=self.kind.plural, why=error.message)
            self._can_stream_state = False
            return 0
        if isinstance(error, errors.Gone | errors.Undecodable) or _FROM_THE_FUTURE in error.message.lower():
            self._is_fresh = True
        log.warning("watch-failed", kind=self.kind.plural, why=str(error))
        return max(backoff_s * random.uniform(0.5, 1), error.retry_after_s)  # noqa: S311 (spreads load)

    async def _follow(self) -> None:
        """One watch, from a complete state or from where the last one ended."""
        timeouts = self._client.transport.timeouts
        params = {"timeoutSeconds": str(max(1, int(timeouts.watch_s * (1 + random.random()))))}  # noqa: S311
        seen: set[ObjectKey] | None = None
        if self._is_fresh and self._can_stream_state:
            seen = set()
            # Without a resourceVersion the state is as new as a quorum read: after a failover never older than ours.
            params |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        else:
            if self._is_fresh:
                await self._list()
            params["resourceVersion"] = self._version
        async with self._client.watch(self.kind, self._selection, params) as lines:
            await self._read(lines, seen)

    async def _list(self) -> None:
        seen: set[ObjectKey] = set()
        version = ""
        async with contextlib.aclosing(self._client.pages(self.kind, self._selection)) as pages:
            async for page in pages:
                for item in page.items:
                    seen.add(key_of(item))
                    self._put(item)
                for broken in page.broken:
                    self._skip(broken, seen)
                version = page.resource_version
                await asyncio.sleep(0)  # other tasks run between pages of a long list
        self._complete(seen, version)

    async def _read(self, lines: AsyncIterator[bytes], seen: set[ObjectKey] | None) -> None:
        async for line in lines:
            event = self._decode(line, _WatchEvent)
            if event.type == "BOOKMARK":
                metadata = self._decode(event.object, _Bookmark).metadata
                if seen is not None and INITIAL_EVENTS_END in metadata.annotations:
                    self._complete(seen, metadata.resource_version)
                    seen = None
                self._version = metadata.resource_version or self._version
                await self._client.transport.refresh()
            elif event.type == "ERROR":
                fault = self._decode(event.object, errors.Fault)
                raise errors.classify(f"watch of {self.kind.plural}", fault)
            else:
                self._take(event, seen)

    def _decode(self, line: bytes | msgspec.Raw, expected: type[S]) -> S:
        try:
            return msgspec.json.decode(line, type=expected)
        except errors.NOT_AN_ANSWER as error:
            # Not even an envelope: what was lost is unknown, so everything is read again.
            raise errors.Undecodable(f"watch of {self.kind.plural}", f"{error}: {bytes(line)[:80]!r}") from error

    def _take(self, event: _WatchEvent, seen: set[ObjectKey] | None) -> None:
        item = client_module.decode_item(self.kind, event.object)
        if isinstance(item, client_module.Broken):
            if item.key is None and seen is None:
                raise errors.Undecodable(f"watch of {self.kind.plural}", f"a change of an unknown object: {item.why}")
            if event.type == "DELETED" and item.key:
                self._drop(item.key)
            else:
                self._skip(item, seen)
            self._version = item.resource_version or self._version
            return
        if seen is None and not self._is_news(item.metadata.resource_version):
            return
        self._version = item.metadata.resource_version or self._version
        if event.type == "DELETED":
            self._drop(key_of(item), item)
            return
        if seen is not None:
            seen.add(key_of(item))
        self._put(item)

    def _is_news(self, version: str) -> bool:
        """Whether an event follows the last one; versions grow within a watch (KEP-5504 makes their order official)."""
        if not (_is_number(version) and _is_number(self._version)) or int(version) > int(self._version):
            return True
        if version == self._version:
            return False  # it came twice
        why = f"version {version} came after {self._version}"
        raise errors.Undecodable(
            f"watch of {self.kind.plural}", f"{why}: events are out of order, or state was restored"
        )

    def _complete(self, seen: set[ObjectKey], version: str) -> None:
        for key in (self._store.keys() | self._broken.keys()) - seen:
            self._drop(key)
        if not version:
            # Going on from no version would miss the deletions until then.
            raise errors.Undecodable(f"list of {self.kind.plural}", "the complete state has no resourceVersion")
        self._version = version
        self._is_fresh = False
        before = self.statistics
        self.statistics = Statistics(before.syncs + 1, before.failures, before.last_failure)
        self.synced.set()

    def _put(self, item: T) -> None:
        key = key_of(item)
        self._broken.pop(key, None)
        old = self._store.get(key)
        if old is not None and old.metadata.uid != item.metadata.uid:
            self._drop(key)  # the same name, another object: its deletion was missed
            old = None
        self._store[key] = item
        if old is None or old.metadata.resource_version != item.metadata.resource_version:
            self._tell(old, item)

    def _drop(self, key: ObjectKey, last: T | None = None) -> None:
        self._broken.pop(key, None)
        old = self._store.pop(key, None)
        if old is not None:
            # The last state that the server knew is worth more than the last that we saw.
            self._tell(last if last is not None and last.metadata.uid == old.metadata.uid else old, None)

    def _skip(self, broken: client_module.Broken, seen: set[ObjectKey] | None) -> None:
        log.error("object-undecodable", kind=self.kind.plural, object=str(broken.key), why=broken.why)
        if broken.key is None:
            return
        self._broken[broken.key] = broken.why
        if seen is not None:
            seen.add(broken.key)

    def _tell(self, old: T | None, new: T | None) -> None:
        for callback in tuple(self._subscribers):
            callback(old, new)


def _is_number(version: str) -> bool:
    return version.isascii() and version.isdigit() and len(version) < 20  # noqa: PLR2004 (versions are 64 bits)
