# SPDX-License-Identifier: Apache-2.0
"""Representors as the kernel has them: guarded before they are up, watched."""

import asyncio
import socket
from collections.abc import Callable, Iterable
from typing import Never

import structlog

from ashore import netlink
from ashore.agent import seam

log = structlog.get_logger(__name__)
BURST_S = 0.03


class Representors:
    """The ``plugger.Links`` of this process' network namespace.

    ``known`` gives the names of all links that should be guarded, plugged or not: what comes in on one is for OVS
    alone. None: the switch takes its frames before this kernel sees them (``netlink.guard``), and what isn't plugged is
    down.
    """

    def __init__(self, kernel: netlink.Kernel, known: Callable[[], Iterable[str] | None]) -> None:
        self._kernel = kernel
        self._known = known
        self._guarded: dict[str, int] | None = None
        self._opened: dict[str, int] = {}
        self._lock = asyncio.Lock()

    def is_present(self, name: str) -> bool:
        """Whether a netdev of that name is in this namespace."""
        return _index(name) > 0

    async def open(self, name: str) -> None:
        """The representor is guarded, without IPv6 of its own, and up. Raises seam.PlugError."""
        index = _index(name)
        if self._opened.get(name) == index:
            return
        try:
            if (self._guarded or {}).get(name) != index:
                await self.guard(name)
            await self._kernel.set_up(name)
        except netlink.NetlinkError as error:
            raise seam.PlugError(f"representor {name}: {error}") from error
        self._opened[name] = index

    async def close(self, name: str) -> None:
        """The representor is down; fine when it is gone."""
        self._opened.pop(name, None)
        try:
            await self._kernel.set_down(name)
        except netlink.NetlinkError as error:
            # It is off the bridge already; down is tidiness.
            log.warning("representor-not-down", name=name, why=str(error))

    async def guard(self, *names: str) -> None:
        """Known representors and these are guarded. Raises netlink.NetlinkError."""
        async with self._lock:
            known = self._known()
            links = () if known is None else {*known, *names, *(self._guarded or ())}
            indices = {name: _index(name) for name in links}
            wanted = {name: index for name, index in indices.items() if index}
            # A netdev that was made anew has another index, and no guard.
            if wanted != self._guarded:
                await netlink.guard.install(wanted)
                self._guarded = wanted

    async def run(self, changed: Callable[[], None]) -> Never:
        """Guards what appears and then tells ``changed``, for ever."""
        news = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(netlink.watch(news.set))
            while True:
                await news.wait()
                # One link's change comes as several events.
                await asyncio.sleep(BURST_S)
                news.clear()
                try:
                    await self.guard()
                except netlink.NetlinkError as error:
                    # Plugging tries again and refuses where it fails.
                    log.warning("representors-not-guarded", why=str(error))
                changed()


def _index(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0
