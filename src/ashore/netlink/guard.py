# SPDX-License-Identifier: Apache-2.0
"""Keeps frames that arrive on switch ports away from this kernel while userspace OVS reads them.

Such frames go to this system's own network stack as well as to the switch. A drop in nft's netdev ingress hook comes
after packet sockets, which userspace OVS reads. It comes *before* the handler by which OVS's kernel module takes frames
(``__netif_receive_skb_core``: ingress filters, then ``rx_handler``), so that ports of a kernel datapath must not be
guarded, and need not be: what the module takes, the stack doesn't see.
"""

import asyncio
import shutil
from collections.abc import Iterable

import msgspec

from ashore.netlink import links

_TABLE = "ashore"
_LIMIT_S = 10.0


def plan(devices: Iterable[str]) -> bytes:
    """One nft transaction in JSON after which exactly these devices are guarded."""
    table = {"family": "netdev", "name": _TABLE}
    commands: list[object] = [{"add": {"table": table}}, {"delete": {"table": table}}, {"add": {"table": table}}]
    commands += [
        {
            "add": {
                "chain": {
                    "family": "netdev", "table": _TABLE, "name": f"ingress-{device}", "type": "filter",
                    "hook": "ingress", "dev": device, "prio": 0, "policy": "drop",
                }
            }
        }
        for device in sorted(set(devices))
    ]  # fmt: skip
    return msgspec.json.encode({"nftables": commands})


async def install(devices: Iterable[str]) -> None:
    """Guard exactly these devices, in one transaction.

    Raises:
        NetlinkError: nft is missing or refuses (a device that vanished meanwhile, for example); nothing has changed.
    """
    program = shutil.which("nft")
    if program is None:
        raise links.NetlinkError("nft isn't installed: representors can't be guarded; install nftables")
    process = await asyncio.create_subprocess_exec(
        program, "-j", "-f", "-",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_LIMIT_S):
            _, errors = await process.communicate(plan(devices))
    except TimeoutError:
        process.kill()
        await process.wait()
        raise links.NetlinkError(f"nft didn't end within {_LIMIT_S:.0f} s; the guard wasn't changed") from None
    if process.returncode:
        raise links.NetlinkError(f"nft refused the guard: {errors.decode(errors='replace').strip()[:300]}")
