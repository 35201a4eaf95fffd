# SPDX-License-Identifier: Apache-2.0
"""The socket that the shim talks to: one request line, one reply line, then the connection closes."""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import structlog

from ashore.agent import agent_metrics
from ashore.api import cni

log = structlog.get_logger(__name__)

DEADLINE_S = {"ADD": cni.ADD_DEADLINE_S}
OTHER_DEADLINE_S = 10.0
REQUEST_TIMEOUT_S = 5.0
"""How long a connected shim may take to send its line; it has it ready when it connects."""

Handler = Callable[[cni.Request], Awaitable[dict[str, Any]]]
"""Serves one request; gives the CNI result or raises ``cni.Failure``."""


class CniServer:
    """Serves requests until cancelled; those of one sandbox one after another.

    A shim that goes away (killed by its runtime) has its ADD cancelled, so that the undo runs; a DEL is finished.
    """

    def __init__(self, path: Path, handler: Handler) -> None:
        self._path = path
        self._handler = handler
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}
        self._connections: set[asyncio.Task[None]] = set()
        self.is_listening = False

    async def run(self, listening: Callable[[], None] = lambda: None) -> None:
        """Listen for ever; ``listening`` is called once the socket accepts connections."""
        listener = self._listen()
        server = await asyncio.start_unix_server(self._accept, sock=listener, limit=cni.MAX_REQUEST_BYTES + 65536)
        self.is_listening = True
        try:
            listening()
            async with server:
                await server.serve_forever()
        finally:
            self.is_listening = False
            for task in tuple(self._connections):
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    def _listen(self) -> socket.socket:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # Bound under another name and renamed, so that there is no moment without a socket or with a wider mode.
        fresh = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            listener.bind(str(fresh))
        finally:
            os.umask(mask)
        listener.listen(256)
        fresh.rename(self._path)
        return listener

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 (a coroutine of the server runs in a task)
        self._connections.add(task)
        try:
            reply = await self._converse(reader)
            if reply is not None:
                writer.write(msgspec.json.encode(reply) + b"\n")
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            # The shim is gone or we are going; either way nobody waits for an answer on this connection.
            log.debug("cni-connection-ended")
        finally:
            self._connections.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader) -> cni.Reply | None:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                line = await reader.readuntil(b"\n")
            request = msgspec.json.decode(line, type=cni.Request)
        except (TimeoutError, asyncio.IncompleteReadError):
            return None
        except (asyncio.LimitOverrunError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return _failed(cni.DECODE_FAILURE, f"ashore: the request can't be understood: {error}")
        return await self._serve(request, reader)

    async def _serve(self, request: cni.Request, reader: asyncio.StreamReader) -> cni.Reply | None:
        began = time.monotonic()
        work = asyncio.create_task(self._within_deadline(request))
        gone = asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done() and request.command == "ADD":
                work.cancel()
            await asyncio.wait({work})
        except asyncio.CancelledError:
            # We are shutting down: an ADD is undone, anything else gets to its end (each is short).
            if request.command == "ADD":
                work.cancel()
            await asyncio.wait({work})
            raise
        finally:
            gone.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await gone
        reply = _reply(request, work)
        _tell(request, reply, time.monotonic() - began)
        return reply

    async def _within_deadline(self, request: cni.Request) -> dict[str, Any]:
        limit_s = DEADLINE_S.get(request.command, OTHER_DEADLINE_S)
        try:
            async with asyncio.timeout(limit_s), self._one_at_a_time(request.container_id):
                return await self._handler(request)
        except TimeoutError:
            raise cni.Failure(
                cni.DEADLINE, f"ashore: {request.command} wasn't done within {limit_s:.0f} s; see the agent's log"
            ) from None

    @contextlib.asynccontextmanager
    async def _one_at_a_time(self, sandbox: str) -> Any:
        if not sandbox:
            yield
            return
        lock, users = self._locks.get(sandbox, (asyncio.Lock(), 0))
        self._locks[sandbox] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks.pop(sandbox)
            if users > 1:
                self._locks[sandbox] = (lock, users - 1)


def _reply(request: cni.Request, work: asyncio.Task[dict[str, Any]]) -> cni.Reply | None:
    if work.cancelled():
        return None
    match work.exception():
        case None:
            return cni.Reply(result=work.result())
        case cni.Failure() as failure:
            return cni.Reply(error=failure.error)
        case error:
            log.error("cni-request-failed", command=request.command, sandbox=request.container_id, exc_info=error)
            return _failed(cni.INTERNAL, f"ashore: {type(error).__name__}: {error}")


def _failed(code: int, msg: str) -> cni.Reply:
    return cni.Reply(error=cni.Error(code=code, msg=msg))


def _tell(request: cni.Request, reply: cni.Reply | None, took_s: float) -> None:
    code = -1 if reply is None else reply.error.code if reply.error else 0
    # A label lives as long as the process, so not every word that somebody sends becomes one.
    command = request.command if request.command in cni.COMMANDS else "other"
    agent_metrics.CNI_SECONDS.labels(command, str(code)).observe(took_s)
    why = reply.error.msg if reply is not None and reply.error else "cancelled" if reply is None else ""
    event = log.warning if why else log.info
    event(
        "cni-request",
        command=request.command,
        sandbox=request.container_id,
        pod_uid=request.pod_uid,
        took_ms=round(took_s * 1000, 1),
        **({"why": why, "code": code} if why else {}),
    )
