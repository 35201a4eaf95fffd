# SPDX-License-Identifier: Apache-2.0
"""The leader's writes to the API server: with preconditions, counted, and only while it may write."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from ashore import kube, runtime
from ashore.controller import metrics
from ashore.kube import kinds

T = TypeVar("T", bound=kinds.HasMetadata)

TRIES = 3
"""How often a write that lost a race is decided anew at once; then the queue's turn comes."""
UNREACHABLE_S = 1.0
DENIED_S = 10.0


class Writes:
    """Patches of annotations and other parts of objects that others write too."""

    def __init__(self, client: kube.Client, check: Callable[[], None]) -> None:
        self.client = client
        self.check = check
        self._newest: dict[tuple[str, kube.ObjectKey], kinds.HasMetadata] = {}

    def newest(self, kind: kube.Kind[T], seen: T) -> T:
        """What we know best: the object as watched, or as our own last write returned it while the watch is behind."""
        place = (kind.plural, kube.key_of(seen))
        known = self._newest.get(place)
        if known is None:
            return seen
        # Resource versions of one kind are comparable numbers (KEP-5504, and in fact ever since etcd).
        if known.metadata.uid == seen.metadata.uid and _version(known) > _version(seen):
            return known  # type: ignore[return-value]
        del self._newest[place]
        return seen

    def forget(self, kind: kube.Kind[T], key: kube.ObjectKey) -> None:
        """The object is gone."""
        self._newest.pop((kind.plural, key), None)

    async def patch(
        self, kind: kube.Kind[T], seen: T, decide: Callable[[T], Mapping[str, Any]], *, subresource: str | None = None
    ) -> None:
        """Writes what ``decide`` says for the object as it is, if anything.

        uid and resourceVersion are preconditions; when the object has moved on it is read again and decided anew. An
        object that is gone, or another one by now, is let be: the watch says so soon.
        """
        current = self.newest(kind, seen)
        key = kube.key_of(seen)
        with as_verdicts(kind.plural):
            for left in reversed(range(TRIES)):
                if not (body := decide(current)):
                    return
                self.check()
                try:
                    patched = await self.client.patch(
                        kind,
                        key.name,
                        key.namespace,
                        body,
                        uid=seen.metadata.uid,
                        resource_version=current.metadata.resource_version,
                        subresource=subresource,
                    )
                except kube.Conflict:
                    metrics.API_WRITES.labels(kind.plural, "conflict").inc()
                    if not left:
                        raise
                    current = await self.client.get(kind, key.name, key.namespace)
                    if current.metadata.uid != seen.metadata.uid:
                        return
                else:
                    metrics.API_WRITES.labels(kind.plural, "done").inc()
                    self._newest[kind.plural, key] = patched
                    return


@contextlib.contextmanager
def as_verdicts(what: str) -> Iterator[None]:
    """An API error in this block becomes the queue's verdict; NotFound is no error, the object is gone."""
    try:
        yield
    except kube.NotFound:
        return
    except kube.Conflict as error:
        raise runtime.Retry(0.1, str(error)) from error
    except (kube.Denied, kube.Invalid) as error:
        metrics.API_WRITES.labels(what, "denied").inc()
        raise runtime.Retry(DENIED_S, str(error)) from error
    except kube.ApiError as error:
        raise runtime.Retry(max(UNREACHABLE_S, error.retry_after_s), str(error)) from error


def _version(thing: kinds.HasMetadata) -> int:
    text = thing.metadata.resource_version
    return int(text) if text.isdigit() else 0
