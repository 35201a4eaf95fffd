# SPDX-License-Identifier: Apache-2.0
"""Tells when links or addresses of our namespace change."""

import asyncio
from collections.abc import Callable

import structlog

from ashore.netlink import pyroute

log = structlog.get_logger(__name__)
_GROUPS = pyroute.RTMGRP_LINK | pyroute.RTMGRP_IPV4_IFADDR | pyroute.RTMGRP_IPV6_IFADDR
_PAUSE_S = 0.5


async def watch(changed: Callable[[], None]) -> None:
    """Call ``changed`` once at the start and after every burst of changes, for ever.

    What changed isn't told: whoever listens looks again. An overrun (more events than the socket holds) is a change.
    """
    while True:
        try:
            async with pyroute.AsyncIPRoute() as socket:
                await socket.bind(groups=_GROUPS)
                changed()
                while True:
                    async for _ in socket.get():
                        changed()
        except (OSError, pyroute.Refusal) as error:
            log.warning("link-watch-interrupted", error=str(error))
            await asyncio.sleep(_PAUSE_S)
