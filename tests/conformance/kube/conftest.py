# SPDX-License-Identifier: Apache-2.0
"""The two servers that must look the same to the client: FakeKube, and etcd with kube-apiserver."""

import asyncio
import concurrent.futures
import contextlib
import pathlib
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import pytest

from ashore import kube, pki
from ashore.testing import kube as fake_kube

QUICK = kube.Timeouts(connect_s=2, request_s=10, silence_s=90)


class Server(Protocol):
    """What the tests need of either."""

    @property
    def url(self) -> str: ...
    def client(
        self, *, user: str = "admin", timeouts: kube.Timeouts = QUICK, servers: tuple[str, ...] = ()
    ) -> kube.Client: ...
    async def restart(self) -> None: ...
    async def forget(self) -> None:
        """Makes version 1 too old to be watched from."""


class Fake:
    def __init__(self) -> None:
        self.kube = fake_kube.FakeKube(bookmark_s=0.2)
        self.kube.faults.deny = self._deny
        self._user = "admin"

    @property
    def url(self) -> str:
        return self.kube.url

    def client(
        self, *, user: str = "admin", timeouts: kube.Timeouts = QUICK, servers: tuple[str, ...] = ()
    ) -> kube.Client:
        self._user = user
        return kube.Client(kube.Unauthenticated(self.url), servers=servers, timeouts=timeouts)

    def _deny(self, attempt: fake_kube.Attempt) -> str | None:
        return None if self._user == "admin" else f"user {self._user} may not"

    async def restart(self) -> None:
        await self.kube.restart()

    async def forget(self) -> None:
        self.kube.compact()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Real:
    """One etcd and one kube-apiserver on loopback, with their own PKI."""

    directory: pathlib.Path
    etcd: pathlib.Path
    apiserver: pathlib.Path
    port: int = field(default_factory=_free_port)
    etcd_ports: tuple[int, int] = field(default_factory=lambda: (_free_port(), _free_port()))
    authority: pki.Authority = field(default_factory=lambda: pki.Authority.create("conformance"))
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def start(self) -> None:
        server = self.authority.issue(common_name="kube-apiserver", ips=["127.0.0.1"], usages=["server"])
        accounts = pki.make_key()
        files = {
            "ca.crt": self.authority.cert_pem,
            "server.crt": server.cert_pem,
            "server.key": server.key_pem,
            "sa.key": accounts,
            "sa.pub": pki.public_key_of(accounts),
        }
        for name, content in files.items():
            pki.write_private(self.directory / name, content)
        for user, groups in (("admin", ["system:masters"]), ("nobody", [])):
            self.credentials(user, groups)
        self._start_etcd()
        self.start_apiserver()

    def credentials(self, user: str, groups: list[str], *, directory: str | None = None) -> pathlib.Path:
        pair = self.authority.issue(common_name=user, organizations=groups)
        place = self.directory / (directory or user)
        pki.write_private(place / "key.pem", pair.key_pem)
        pki.write_private(place / "cert.pem", pair.cert_pem)
        pki.write_private(place / "ca.pem", self.authority.cert_pem)
        files = pki.Credentials(pathlib.Path("ca.pem"), pathlib.Path("cert.pem"), pathlib.Path("key.pem"))
        pki.write_private(place / "kubeconfig", pki.render_kubeconfig(self.url, files))
        return place / "kubeconfig"

    def client(
        self, *, user: str = "admin", timeouts: kube.Timeouts = QUICK, servers: tuple[str, ...] = ()
    ) -> kube.Client:
        return kube.Client.from_kubeconfig(self.directory / user / "kubeconfig", servers=servers, timeouts=timeouts)

    def _start_etcd(self) -> None:
        client, peer = (f"http://127.0.0.1:{port}" for port in self.etcd_ports)
        places = [f"--data-dir={self.directory}/etcd", f"--listen-client-urls={client}", f"--listen-peer-urls={peer}"]
        names = [f"--advertise-client-urls={client}", f"--initial-advertise-peer-urls={peer}"]
        rest = [f"--initial-cluster=t={peer}", "--name=t", "--unsafe-no-fsync", "--log-level=error"]
        self._spawn("etcd", self.etcd, *places, *names, *rest)

    def start_apiserver(self) -> None:
        place = self.directory
        serving = [f"--tls-cert-file={place}/server.crt", f"--tls-private-key-file={place}/server.key"]
        serving += [f"--secure-port={self.port}", "--bind-address=127.0.0.1"]
        # It won't advertise loopback; this address (RFC 5737) is never used.
        serving += ["--advertise-address=192.0.2.1", "--endpoint-reconciler-type=none"]
        accounts = [f"--service-account-key-file={place}/sa.pub", f"--service-account-signing-key-file={place}/sa.key"]
        accounts += ["--service-account-issuer=https://conformance", f"--client-ca-file={place}/ca.crt"]
        rest = [f"--etcd-servers=http://127.0.0.1:{self.etcd_ports[0]}", "--service-cluster-ip-range=10.96.0.0/16"]
        # No controllers run here, so nobody would make the service accounts that pods need.
        rest += ["--disable-admission-plugins=ServiceAccount", "--authorization-mode=RBAC", "--profiling=false"]
        rest += [f"--cert-dir={place}", "--shutdown-delay-duration=0s"]
        self._spawn("kube-apiserver", self.apiserver, *serving, *accounts, *rest)
        # In a thread, because a fixture's thread has a loop of its own already.
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, self._until_ready()).result()

    async def _until_ready(self) -> None:
        deadline = time.monotonic() + 60
        async with self.client() as client:
            while True:
                try:
                    await client.get(kube.NAMESPACES, "default")
                except kube.ApiError as error:
                    if time.monotonic() > deadline or self.processes["kube-apiserver"].poll() is not None:
                        tail = (self.directory / "kube-apiserver.log").read_text()[-2000:]
                        raise TimeoutError(f"kube-apiserver isn't ready: {error}\n{tail}") from error
                    await asyncio.sleep(0.1)  # a starting server offers nothing to wait on
                else:
                    return

    async def restart(self) -> None:
        await asyncio.to_thread(self.stop, "kube-apiserver")
        await asyncio.to_thread(self.start_apiserver)

    async def forget(self) -> None:
        """A watch cache begins at the version of its server's start: the first one may begin at version 1 itself."""
        await self.restart()

    def _spawn(self, name: str, *command: object) -> None:
        with (self.directory / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [str(part) for part in command], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def stop(self, name: str) -> None:
        process = self.processes.pop(name, None)
        if process is None:
            return
        process.terminate()
        try:
            process.wait(3)  # kube-apiserver drains for up to a minute
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def close(self) -> None:
        self.stop("kube-apiserver")
        self.stop("etcd")


class HasPath(Protocol):
    def path(self, name: str) -> pathlib.Path: ...


@pytest.fixture(scope="module")
def real(tools: HasPath) -> Iterator[Real]:
    etcd, apiserver = tools.path("etcd"), tools.path("kube-apiserver")
    with tempfile.TemporaryDirectory(prefix="ashore-kube-") as directory, contextlib.ExitStack() as undo:
        server = Real(pathlib.Path(directory), etcd, apiserver)
        undo.callback(server.close)
        server.start()
        yield server


@pytest.fixture
async def fake() -> AsyncIterator[Fake]:
    opened = Fake()
    async with opened.kube:
        yield opened


@pytest.fixture(params=["fake", "real"])
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
async def client(server: Server) -> AsyncIterator[kube.Client]:
    async with server.client() as opened:
        yield opened


@pytest.fixture
async def namespace(client: kube.Client) -> str:
    made = await client.create(kube.NAMESPACES, {"metadata": {"generateName": "test-"}})
    return made.metadata.name
