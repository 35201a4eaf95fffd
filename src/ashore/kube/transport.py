# SPDX-License-Identifier: Apache-2.0
"""Connections to a list of API servers: failover, rotation of credentials, sockets that notice a dead peer."""

import asyncio
import contextlib
import socket
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass

import aiohttp
import structlog
import yarl

from ashore.kube import credentials, errors

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Timeouts:
    """How long to wait, in seconds."""

    connect_s: float = 5
    """For TCP and TLS to one server, before the next in the list is tried."""
    request_s: float = 30
    """For a whole answer."""
    silence_s: float = 90
    """For the next byte of a watch. Servers send a bookmark about once a minute."""
    watch_s: float = 300
    """Length of a watch before it is opened anew; up to twice this, at random."""
    keepalive_idle_s: int = 10
    """With three probes 5 s apart a peer that vanished is noticed within 25 s, although nothing is sent."""
    user_timeout_s: int = 20
    """How long sent bytes may stay unacknowledged (TCP_USER_TIMEOUT, tcp(7))."""


DEFAULT_TIMEOUTS = Timeouts()


@dataclass(frozen=True)
class Request:
    """One HTTP request; ``target`` names the object in errors."""

    method: str
    path: str
    target: str
    params: Mapping[str, str] | None = None
    body: bytes | None = None
    content_type: str = "application/json"


_TURNS_TO_CLOSE = 50
"""How many turns of the loop a pool's end may take; a socket needs about four."""


class _Pool:
    """Connections made under one identity. Retired ones finish their requests, end their watches, then close."""

    def __init__(self, identity: credentials.Identity, timeouts: Timeouts) -> None:
        self.identity = identity
        self._timeouts = timeouts
        self._users = 0
        self._retired = asyncio.Event()
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        connector = aiohttp.TCPConnector(
            ssl=identity.tls or True, limit=0, keepalive_timeout=60, socket_factory=self._open_socket
        )
        self.session = aiohttp.ClientSession(connector=connector, headers=dict(identity.headers), trust_env=False)

    @property
    def is_retired(self) -> bool:
        return self._retired.is_set()

    @contextlib.asynccontextmanager
    async def used(self) -> AsyncIterator[None]:
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if self.is_retired and not self._users:
                await self.end()

    async def retire(self) -> None:
        self._retired.set()
        if not self._users:
            await self.end()

    async def end(self) -> None:
        """Closes the session and its sockets.

        aiohttp leaves a socket under TLS open until its peer has said goodbye, which a dead one never does.
        """
        await self.session.close()
        for opened in self._open():
            with contextlib.suppress(OSError):  # it was never connected, or its peer closed it
                opened.shutdown(socket.SHUT_RDWR)
        for _ in range(_TURNS_TO_CLOSE):
            if not self._open():
                break
            await asyncio.sleep(0)

    def _open(self) -> list[socket.socket]:
        return [known for known in self._sockets if known.fileno() >= 0]

    async def until_retired(self) -> None:
        await self._retired.wait()

    def _open_socket(self, info: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, *_ = info
        opened = socket.socket(family, kind, protocol)
        self._sockets.add(opened)
        opened.setblocking(False)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, self._timeouts.keepalive_idle_s)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self._timeouts.user_timeout_s * 1000)
        return opened


class Transport:
    """Sends requests to the first server that can be connected to, and stays with it while it works."""

    def __init__(self, login: credentials.Login, *, servers: Sequence[str], timeouts: Timeouts) -> None:
        self.timeouts = timeouts
        self._login = login
        self._servers = tuple(server.rstrip("/") for server in servers)
        self._current = 0
        self._pool: _Pool | None = None
        self._loading = asyncio.Lock()

    async def close(self) -> None:
        """Ends everything, requests in flight too."""
        pool, self._pool = self._pool, None
        if pool:
            await pool.end()

    async def refresh(self) -> None:
        """Takes up changed credentials: new connections use them, idle old ones close, watches end."""
        await self._fresh_pool()

    async def send(self, request: Request) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of the answer.

        Raises:
            Unreachable: no server answered.
        """
        limits = aiohttp.ClientTimeout(total=self.timeouts.request_s, sock_connect=self.timeouts.connect_s)
        async with self._answer(request, limits) as (_, response):
            with self._explained(request.target):
                body = await response.read()
            return response.status, response.headers, body

    @contextlib.asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """Status of the answer and an iterator over its bytes, which ends cleanly when credentials change."""
        limits = aiohttp.ClientTimeout(
            total=None, sock_connect=self.timeouts.connect_s, sock_read=self.timeouts.silence_s
        )
        async with (
            self._answer(request, limits) as (pool, response),
            contextlib.aclosing(self._chunks(request.target, pool, response)) as chunks,
        ):
            yield response.status, chunks

    @contextlib.asynccontextmanager
    async def _answer(
        self, request: Request, limits: aiohttp.ClientTimeout
    ) -> AsyncIterator[tuple[_Pool, aiohttp.ClientResponse]]:
        pool = await self._fresh_pool(request.target)
        async with pool.used():
            with self._explained(request.target):
                response = await self._connect(pool, request, limits)
            async with response:
                yield pool, response

    @contextlib.contextmanager
    def _explained(self, target: str) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            # A server that accepts and then says nothing isn't a working one: the next request goes elsewhere.
            self._current += 1
            raise errors.Unreachable(target, f"the API server went silent ({error or 'timeout'})") from error
        except (aiohttp.ClientError, OSError) as error:
            raise errors.Unreachable(target, f"the connection broke ({error or type(error).__name__})") from error

    async def _connect(self, pool: _Pool, request: Request, limits: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        servers = self._servers or (pool.identity.server.rstrip("/"),)
        failures = []
        for _ in servers:
            tried = self._current % len(servers)
            server = servers[tried]
            try:
                return await pool.session.request(
                    request.method,
                    yarl.URL(server + request.path),
                    params=request.params,
                    data=request.body,
                    headers={"Accept": "application/json", "Content-Type": request.content_type},
                    timeout=limits,
                    server_hostname=pool.identity.tls_server_name,
                    allow_redirects=False,
                )
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
                # Nothing was sent yet, so any verb may go to the next server.
                failures.append(f"{server}: {_explain(error)}")
                # Another request may have moved on meanwhile; don't skip a server that nobody tried.
                if self._current % len(servers) == tried:
                    self._current = tried + 1
        raise errors.Unreachable(request.target, "no API server can be reached: " + "; ".join(failures))

    async def _chunks(self, target: str, pool: _Pool, response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
        retired = asyncio.ensure_future(pool.until_retired())
        retired.add_done_callback(lambda task: None if task.cancelled() else response.close())
        try:
            with self._explained(target):
                async for chunk in response.content.iter_any():
                    yield chunk
        except errors.Unreachable:
            if not pool.is_retired:
                raise
        finally:
            retired.cancel()

    async def _fresh_pool(self, target: str = "credentials") -> _Pool:
        if self._pool and not self._login.has_changed():
            return self._pool
        async with self._loading:
            if self._pool and not self._login.has_changed():
                return self._pool
            old = self._pool
            try:
                identity = await self._login.load()
            except credentials.Unusable as error:
                if old:
                    # Half of a rotation: go on as before, look again at the next request.
                    log.warning("credentials-unusable", why=str(error))
                    return old
                raise errors.Unreachable(target, str(error)) from error
            self._pool = _Pool(identity, self.timeouts)
            if old:
                log.info("credentials-changed", server=identity.server)
                await old.retire()
            return self._pool


def _explain(error: aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        why = getattr(error.certificate_error, "verify_message", "") or str(error.certificate_error)
        return f"its certificate isn't one that the kubeconfig's certificate authority vouches for ({why})"
    if isinstance(error, aiohttp.ClientConnectorError):
        return str(error.os_error.strerror or error.os_error)
    return "no connection in time"
