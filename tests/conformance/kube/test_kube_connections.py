# SPDX-License-Identifier: Apache-2.0
"""What goes wrong on the way to a server: credentials, silence, cuts, garbage, servers that are down."""

import asyncio
import contextlib
import pathlib
import socket
from collections.abc import AsyncIterator
from typing import Any, Protocol, Self

import msgspec
import pytest

from ashore import kube, pki
from ashore.kube import objects
from ashore.testing import kube as fake_kube

LIMIT_S = 20
SHORT = kube.Timeouts(connect_s=1, request_s=2, silence_s=0.5)


class Server(Protocol):
    @property
    def url(self) -> str: ...
    def client(
        self, *, user: str = "admin", timeouts: kube.Timeouts = SHORT, servers: tuple[str, ...] = ()
    ) -> kube.Client: ...


class Fake(Server, Protocol):
    kube: fake_kube.FakeKube


class Real(Server, Protocol):
    directory: pathlib.Path

    def credentials(self, user: str, groups: list[str], *, directory: str | None = None) -> pathlib.Path: ...


class _User(msgspec.Struct, frozen=True):
    username: str


class _Who(msgspec.Struct, frozen=True, rename="camel"):
    user_info: _User


class SelfSubjectReview(msgspec.Struct, frozen=True):
    metadata: objects.ObjectMeta
    status: _Who


REVIEWS = kube.Kind("authentication.k8s.io", "v1", "selfsubjectreviews", SelfSubjectReview, namespaced=False)


async def whoami(client: kube.Client) -> str:
    return (await client.create(REVIEWS, {"metadata": {}})).status.user_info.username


@contextlib.asynccontextmanager
async def following(informer: kube.Informer[Any]) -> AsyncIterator[None]:
    task = asyncio.create_task(informer.run())
    try:
        async with asyncio.timeout(LIMIT_S):
            await informer.synced.wait()
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class Proxy:
    """Forwards TCP; ``mute`` makes today's connections silent for ever while they stay open."""

    def __init__(self, target: str) -> None:
        self._port = int(target.rpartition(":")[2])
        self._scheme = target.partition(":")[0]
        self._open = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0

    async def __aenter__(self) -> Self:
        self._open.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"{self._scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def mute(self) -> None:
        self._open.clear()
        self._open = asyncio.Event()
        self._open.set()

    async def until_quiet(self) -> None:
        """Returns once all connections have ended."""
        async with asyncio.timeout(LIMIT_S):
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.sleep(0.05)  # closed sockets go with the loop's next turns

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        gate = self._open
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._port)
        for source, sink in ((reader, there_writer), (there_reader, writer)):
            task = asyncio.create_task(self._copy(source, sink, gate))
            self._tasks.add(task)

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, gate: asyncio.Event) -> None:
        with contextlib.suppress(ConnectionError):
            try:
                while data := await source.read(65536):
                    if gate.is_set():
                        sink.write(data)
                        await sink.drain()
            finally:
                sink.close()


async def test_a_stranger_is_denied_with_the_objects_name(server: Server) -> None:
    async with server.client(user="nobody") as client:
        with pytest.raises(kube.Denied, match=r"namespace stranger: .*nobody"):
            await client.create(kube.NAMESPACES, {"metadata": {"name": "stranger"}})


def _open_files() -> int:
    return sum(1 for _ in pathlib.Path("/proc/self/fd").iterdir())


async def test_the_end_of_a_client_closes_sockets_whose_peer_is_silent(server: Server) -> None:
    async with Proxy(server.url) as proxy:
        before = _open_files()
        async with server.client(servers=(proxy.url,)) as client, following(kube.Informer(client, kube.NAMESPACES)):
            proxy.mute()
        await proxy.until_quiet()
        assert _open_files() == before


async def test_the_next_server_of_the_list_takes_over(server: Server) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: refuses
        dead = f"{server.url.partition(':')[0]}://127.0.0.1:{closed.getsockname()[1]}"
        async with server.client(servers=(dead, server.url)) as client:
            assert await client.server_version()
        async with server.client(servers=(dead,)) as client:
            with pytest.raises(kube.Unreachable, match=rf"no API server can be reached: {dead}: "):
                await client.server_version()


async def test_a_connection_that_goes_silent_is_replaced(server: Server) -> None:
    async with Proxy(server.url) as proxy, server.client(timeouts=SHORT, servers=(proxy.url,)) as client:
        informer = kube.Informer(client, kube.NAMESPACES)
        async with following(informer), server.client() as other:
            proxy.mute()
            made = await other.create(kube.NAMESPACES, {"metadata": {"generateName": "test-"}})
            await informer.wait_for(kube.key_of(made), bool, timeout_s=LIMIT_S)
            assert "silent" in informer.statistics.last_failure


async def test_rotated_credentials_are_taken_up_by_requests_and_watches(real: Real) -> None:
    config = real.credentials("first", ["system:masters"], directory="rotated")
    async with kube.Client.from_kubeconfig(config) as client:
        informer = kube.Informer(client, kube.NAMESPACES)
        async with following(informer):
            assert await whoami(client) == "first"
            old = client.transport._pool
            assert old is not None
            real.credentials("second", ["system:masters"], directory="rotated")
            assert await whoami(client) == "second"
            async with asyncio.timeout(LIMIT_S):
                made = await client.create(kube.NAMESPACES, {"metadata": {"generateName": "test-"}})
                await informer.wait_for(kube.key_of(made), bool, timeout_s=LIMIT_S)
                while not old.session.closed:  # noqa: ASYNC110 (the watch leaves it in its own time, within the limit)
                    await asyncio.sleep(0)
            assert informer.statistics.failures == 0


async def test_half_a_rotation_keeps_the_old_identity(real: Real) -> None:
    config = real.credentials("first", ["system:masters"], directory="half")
    async with kube.Client.from_kubeconfig(config) as client:
        assert await whoami(client) == "first"
        pki.write_private(config.parent / "key.pem", pki.make_key())
        assert await whoami(client) == "first"


async def test_a_server_of_another_authority_is_unreachable_and_says_why(real: Real) -> None:
    config = real.credentials("first", [], directory="misled")
    pki.write_private(config.parent / "ca.pem", pki.Authority.create("other").cert_pem)
    async with kube.Client.from_kubeconfig(config) as client:
        with pytest.raises(kube.Unreachable, match="certificate isn't one that the kubeconfig's certificate authority"):
            await client.server_version()


@pytest.mark.parametrize("line", [b'{"type":"ADDED","object":{"metadata":{"na', b"<html>\n"], ids=["half", "garbage"])
async def test_a_watch_that_breaks_off_or_babbles_is_opened_again(fake: Fake, line: bytes) -> None:
    async with fake.client() as client:
        informer = kube.Informer(client, kube.NAMESPACES)
        async with following(informer):
            await fake.kube.watches.say(line)
            fake.kube.watches.cut()
            made = await client.create(kube.NAMESPACES, {"metadata": {"name": "after"}})
            await informer.wait_for(kube.key_of(made), bool, timeout_s=LIMIT_S)


async def test_a_server_without_watch_list_is_listed(fake: Fake) -> None:
    fake.kube.faults.watch_list_refused = True
    fake.kube.put(kube.NAMESPACES, {"metadata": {"name": "before"}})
    async with fake.client() as client:
        informer = kube.Informer(client, kube.NAMESPACES)
        async with following(informer):
            assert kube.ObjectKey("", "before") in informer.store


async def test_an_informer_outlives_errors_and_garbage(fake: Fake) -> None:
    fake.kube.faults.fail(2)
    fake.kube.faults.fail(1, status=403)
    async with fake.client() as client:
        informer = kube.Informer(client, kube.NAMESPACES)
        async with following(informer):
            assert informer.statistics.failures == 3


async def test_a_throttled_request_is_sent_again_and_not_for_ever(fake: Fake) -> None:
    async with fake.client() as client:
        fake.kube.faults.fail(3, status=429, retry_after_s=0)
        assert await client.server_version()
        fake.kube.faults.fail(4, status=429, retry_after_s=0)
        with pytest.raises(kube.Throttled, match="server version"):
            await client.server_version()


async def test_errors_and_garbage_are_told_apart(fake: Fake) -> None:
    async with fake.client() as client:
        fake.kube.faults.fail(1)
        with pytest.raises(kube.ServerError, match="told to fail"):
            await client.server_version()
        fake.kube.faults.garble()
        with pytest.raises(kube.Undecodable, match="can't be understood"):
            await client.server_version()
