# SPDX-License-Identifier: Apache-2.0
"""A service: its load balancers, from itself and its endpoint slices, and what is wrong with it as Events."""

import structlog

from ashore import kube, runtime
from ashore.controller import keys, service_records
from ashore.controller.means import Means
from ashore.kube import objects
from ashore.services import view

log = structlog.get_logger(__name__)


class Services:
    """Reconciles one service at a time; see ``Reign``."""

    def __init__(self, means: Means) -> None:
        self._services = means.services
        self._slices = means.slices
        self._book = means.book
        self._writer = means.writer
        self._queue = means.queue
        self._means = means
        self._parts: dict[view.ServiceName, dict[kube.ObjectKey, None]] = {}
        self._told: dict[view.ServiceName, tuple[str, ...]] = {}
        for found in self._slices.store.values():
            self._note_slice(None, found)

    def service_changed(self, old: objects.Service | None, new: objects.Service | None) -> None:
        """The informer's callback."""
        for each in (old, new):
            if each is not None:
                self._queue.add(keys.ServiceKey(service_records.name_of(each)))

    def slice_changed(self, old: objects.EndpointSlice | None, new: objects.EndpointSlice | None) -> None:
        """The informer's callback. Many slices' changes of one service are one look at it."""
        self._note_slice(old, new)
        for each in (old, new):
            if each is not None and (name := service_records.service_of(each)) is not None:
                self._queue.add(keys.ServiceKey(name))

    def begin(self) -> None:
        """Puts every service into the book: nothing may be pruned before."""
        for found in self._services.store.values():
            seen, _ = self._view(found)
            if seen is not None:
                self._book.put(seen)
            self._queue.add(keys.ServiceKey(service_records.name_of(found)))

    async def reconcile(self, name: view.ServiceName) -> None:
        """Makes the world level for one service. Retry, Refused: see there."""
        found = self._services.store.get(kube.ObjectKey(*name))
        seen, problems = self._view(found) if found else (None, ())
        changed, others = self._book.put(seen) if seen is not None else self._book.drop(name)
        key = keys.ServiceKey(name)
        # Others' rows are others' keys: what goes wrong with theirs must not hold up this one.
        for other in changed - {key}:
            self._queue.add(other)
        for service in others:
            self._queue.add(keys.ServiceKey(service))
        await self._writer.settle(key)
        if found is None:
            self._told.pop(name, None)
            self._queue.forget(key)
            return
        lost = self._book.lost(name)
        problems += tuple(f"{claim} is already {lost[claim]}'s, an older service; change one" for claim in sorted(lost))
        await self._report(found, problems)

    def _view(self, found: objects.Service) -> tuple[view.ServiceView | None, tuple[str, ...]]:
        parts = self._parts.get(service_records.name_of(found), {})
        return service_records.service_view(found, [self._slices.store[part] for part in parts])

    def _note_slice(self, old: objects.EndpointSlice | None, new: objects.EndpointSlice | None) -> None:
        if old is not None and (name := service_records.service_of(old)) is not None:
            parts = self._parts.get(name, {})
            parts.pop(kube.key_of(old), None)
            if not parts:
                self._parts.pop(name, None)
        if new is not None and (name := service_records.service_of(new)) is not None:
            self._parts.setdefault(name, {})[kube.key_of(new)] = None

    async def _report(self, found: objects.Service, problems: tuple[str, ...]) -> None:
        name = service_records.name_of(found)
        if problems and problems != self._told.get(name):
            log.warning("service-problem", service=str(name), problems=list(problems))
            regarding = objects.ObjectReference("v1", "Service", *name, found.metadata.uid)
            await self._means.warn(regarding, "ServiceInvalid", "; ".join(problems))
            self._told[name] = problems
        if problems:
            raise runtime.Refused(f"service {name}: {'; '.join(problems)}")
        self._told.pop(name, None)
