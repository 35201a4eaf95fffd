# SPDX-License-Identifier: Apache-2.0
"""``python -m ashore.lab.front``: the machine's way to the API servers, from loopback ports into their namespaces."""

import asyncio
import contextlib
import functools
import pathlib
import socket
import sys

from ashore.lab import addresses, netspace, spec

_CHUNK = 65536


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


async def _serve(space: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    inner = netspace.within(space, lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
    far_writer: asyncio.StreamWriter | None = None
    try:
        await asyncio.get_running_loop().sock_connect(inner, ("127.0.0.1", addresses.API_PORT))
        far_reader, far_writer = await asyncio.open_connection(sock=inner)
        async with asyncio.TaskGroup() as both:
            both.create_task(_copy(reader, far_writer))
            both.create_task(_copy(far_reader, writer))
    except OSError:
        inner.close()  # the API server is away; the caller sees the connection closed
    finally:
        for end in (writer, far_writer):
            if end is not None:
                end.close()


async def main(root: pathlib.Path) -> None:
    """Runs until it is killed."""
    lab = spec.read(spec.Folders(root.parent, root.name))
    async with contextlib.AsyncExitStack() as stack:
        for cluster, place in (("host", spec.CP), ("nic", spec.NIC_CP)):
            serve = functools.partial(_serve, spec.netns(lab.name, place.name))
            server = await asyncio.start_server(serve, "127.0.0.1", lab.ports[cluster])
            await stack.enter_async_context(server)
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(main(pathlib.Path(sys.argv[1])))
