# SPDX-License-Identifier: Apache-2.0
"""Servers to hold the client and the fake against."""

import pathlib
import tempfile
from collections.abc import AsyncIterator, Iterator

import pytest

from ashore.schema import nb
from ashore.testing import ovsdb_server
from ashore.testing.ovsdb import FakeOvsdb


@pytest.fixture
def folder() -> Iterator[pathlib.Path]:
    """A folder whose path is short enough for a unix socket's."""
    with tempfile.TemporaryDirectory(prefix="ovsdb-") as name:
        yield pathlib.Path(name)


@pytest.fixture
async def real(request: pytest.FixtureRequest, folder: pathlib.Path) -> AsyncIterator[ovsdb_server.RealServer]:
    server = ovsdb_server.RealServer(request.getfixturevalue("tools"), folder)
    await server.create()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest.fixture
async def fake(folder: pathlib.Path) -> AsyncIterator[FakeOvsdb]:
    async with FakeOvsdb(nb.DATABASE, nb.TABLES, folder / "fake.sock") as server:
        yield server


@pytest.fixture(params=["fake", "real"])
async def server(request: pytest.FixtureRequest, folder: pathlib.Path) -> AsyncIterator[ovsdb_server.Server]:
    if request.param == "fake":
        async with FakeOvsdb(nb.DATABASE, nb.TABLES, folder / "fake.sock") as fake:
            yield fake
        return
    started = ovsdb_server.RealServer(request.getfixturevalue("tools"), folder)
    await started.create()
    await started.start()
    try:
        yield started
    finally:
        await started.stop()
