# SPDX-License-Identifier: Apache-2.0
"""TLS against a real ovsdb-server: rotation, half-written credentials, the wrong authority, the wrong name."""

import pathlib
import re
import ssl
from collections.abc import AsyncIterator, Callable

import pytest

from ashore import ovsdb, pki
from ashore.testing import ovsdb_server


def write(folder: pathlib.Path, name: str, pair: pki.KeyPair) -> None:
    (folder / f"{name}.key").write_bytes(pair.key_pem)
    (folder / f"{name}.crt").write_bytes(pair.cert_pem)


def contexts(folder: pathlib.Path, ca: str = "ca.crt") -> Callable[[], ssl.SSLContext]:
    return lambda: ovsdb.context(key=f"{folder}/client.key", cert=f"{folder}/client.crt", ca=f"{folder}/{ca}")


@pytest.fixture
def authority(folder: pathlib.Path) -> pki.Authority:
    made = pki.Authority.create("ovsdb-ca")
    (folder / "ca.crt").write_bytes(made.cert_pem)
    write(folder, "server", made.issue(common_name="nb", ips=["127.0.0.1"], usages=("server", "client")))
    write(folder, "client", made.issue(common_name="one"))
    return made


@pytest.fixture
async def tls_server(
    request: pytest.FixtureRequest, folder: pathlib.Path, authority: pki.Authority
) -> AsyncIterator[ovsdb_server.RealServer]:
    files = ("private-key", "server.key"), ("certificate", "server.crt"), ("ca-cert", "ca.crt")
    server = ovsdb_server.RealServer(
        request.getfixturevalue("tools"),
        folder,
        extra=[f"--{option}={folder}/{name}" for option, name in files],
        remotes=["pssl:0:127.0.0.1"],
    )
    await server.create()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def port_of(folder: pathlib.Path) -> int:
    found = re.findall(r"listening on port (\d+)", (folder / "log").read_text())
    assert found, "ovsdb-server has logged its port"
    return int(found[-1])


async def test_rotated_credentials_are_used_by_the_next_connection(
    tls_server: ovsdb_server.RealServer, folder: pathlib.Path, authority: pki.Authority
) -> None:
    remote = f"ssl:127.0.0.1:{port_of(folder)}"
    async with ovsdb_server.follow(remote, tls=contexts(folder)) as client:
        new = authority.issue(common_name="two")
        (folder / "client.key").write_bytes(new.key_pem)
        await tls_server.appctl("ovsdb-server/reconnect")
        await ovsdb_server.until(lambda: "MISMATCH" in client.problem.upper(), "a half-rotated pair is told")
        assert not client.connected
        (folder / "client.crt").write_bytes(new.cert_pem)
        await client.synced(20)


async def test_a_server_of_another_authority_is_refused(
    tls_server: ovsdb_server.RealServer, folder: pathlib.Path
) -> None:
    (folder / "other.crt").write_bytes(pki.Authority.create("other").cert_pem)
    remote = f"ssl:127.0.0.1:{port_of(folder)}"
    async with ovsdb_server.follow(remote, tls=contexts(folder, "other.crt"), sync=False) as client:
        await ovsdb_server.until(lambda: "CERTIFICATE_VERIFY_FAILED" in client.problem, "the finding is told")


async def test_a_server_of_another_name_is_refused(tls_server: ovsdb_server.RealServer, folder: pathlib.Path) -> None:
    remote = f"ssl:localhost:{port_of(folder)}"
    async with ovsdb_server.follow(remote, tls=contexts(folder), sync=False) as client:
        await ovsdb_server.until(lambda: "mismatch" in client.problem.lower(), "the finding is told")


async def test_a_client_of_another_authority_is_refused(
    tls_server: ovsdb_server.RealServer, folder: pathlib.Path
) -> None:
    write(folder, "client", pki.Authority.create("other").issue(common_name="one"))
    remote = f"ssl:127.0.0.1:{port_of(folder)}"
    async with ovsdb_server.follow(remote, tls=contexts(folder), sync=False) as client:
        await ovsdb_server.until(lambda: client.problem.startswith("ssl:127.0.0.1"), "the finding is told")
        assert not client.connected


async def test_missing_credentials_are_told_and_tried_again(
    tls_server: ovsdb_server.RealServer, folder: pathlib.Path, authority: pki.Authority
) -> None:
    (folder / "client.key").unlink()
    remote = f"ssl:127.0.0.1:{port_of(folder)}"
    async with ovsdb_server.follow(remote, tls=contexts(folder), sync=False) as client:
        await ovsdb_server.until(lambda: "No such file" in client.problem, "the finding is told")
        write(folder, "client", authority.issue(common_name="one"))
        await client.synced(20)
