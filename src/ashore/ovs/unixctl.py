# SPDX-License-Identifier: Apache-2.0
"""Commands to an OVS or OVN daemon over its control socket: what ``ovs-appctl`` does, without a process.

Source: ovs-appctl(8), OVS ``lib/unixctl.c``: JSON-RPC 1.0 over a unix socket, one object each way, no delimiter.
"""

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

LIMIT_S = 10.0
MAX_REPLY_BYTES = 64 << 20


class Unreachable(Exception):  # noqa: N818 (a finding about a daemon, named as such)
    """No daemon answers on its control socket; the text says which daemon and which socket."""


class CommandFailed(Exception):  # noqa: N818 (a finding about a daemon, named as such)
    """The daemon refused the command; the text is its own."""


def control_socket(run_dir: Path, daemon: str) -> Path:
    """Where ``daemon`` listens: a fixed ``<daemon>.ctl`` if there is one, else the one that its pidfile names.

    Raises:
        Unreachable: neither exists.
    """
    fixed = run_dir / f"{daemon}.ctl"
    if fixed.exists():
        return fixed
    pidfile = run_dir / f"{daemon}.pid"
    try:
        named = run_dir / f"{daemon}.{int(pidfile.read_text())}.ctl"
    except (OSError, ValueError) as error:
        raise Unreachable(f"{daemon}: neither {fixed} nor a usable {pidfile}: {error}; is it running?") from error
    if not named.exists():
        raise Unreachable(f"{daemon}: its pidfile {pidfile} names {named}, which is absent; is it running?")
    return named


async def command(socket: Path, name: str, *arguments: str, limit_s: float = LIMIT_S) -> str:
    """The text that a daemon answers to a command.

    Raises:
        Unreachable: nobody answers within ``limit_s``.
        CommandFailed: the daemon says no.
    """
    try:
        async with asyncio.timeout(limit_s):
            reply = await _exchange(socket, {"id": 0, "method": name, "params": list(arguments)})
    except (OSError, ValueError) as error:
        raise Unreachable(f"{socket}: {name}: {str(error) or type(error).__name__}") from error
    if reply.get("error") is not None:
        raise CommandFailed(f"{socket}: {name}: {str(reply['error']).strip()}")
    return str(reply.get("result") or "")


async def until_closed(socket: Path) -> None:
    """Returns when the daemon behind the socket has gone. Raises Unreachable when there is none."""
    try:
        reader, writer = await asyncio.open_unix_connection(str(socket))
    except OSError as error:
        raise Unreachable(f"{socket}: {error.strerror or error}") from error
    try:
        with contextlib.suppress(OSError):
            await reader.read()
    finally:
        writer.close()


async def appctl(run_dir: Path, daemon: str, name: str, *arguments: str) -> str:
    """The text that the daemon of this run directory answers to a command. Raises as ``command``."""
    return await command(control_socket(run_dir, daemon), name, *arguments)


async def _exchange(socket: Path, request: dict[str, Any]) -> dict[str, Any]:
    reader, writer = await asyncio.open_unix_connection(str(socket))
    try:
        writer.write(json.dumps(request).encode())
        await writer.drain()
        received = bytearray()
        while chunk := await reader.read(1 << 16):
            received += chunk
            if len(received) > MAX_REPLY_BYTES:
                raise ValueError(f"reply is larger than {MAX_REPLY_BYTES} bytes")
            # The reply is one object, so trying is worth it only when a brace has just come in.
            if chunk.rstrip().endswith(b"}") and (reply := _decoded(received)) is not None:
                return reply
        raise ValueError("connection closed before a whole reply came")
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _decoded(received: bytearray) -> dict[str, Any] | None:
    try:
        reply = json.loads(received)
    except ValueError:
        return None
    return reply if isinstance(reply, dict) else None
