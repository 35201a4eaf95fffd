# SPDX-License-Identifier: Apache-2.0
"""The controller as its user, with nothing but its manifests' rights, against a real API server and database."""

import asyncio
import contextlib
import importlib.util
import pathlib
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import yaml

from ashore import kube
from ashore.api import annotations
from ashore.controller import main
from ashore.controller.settings import Settings
from ashore.kube import objects
from ashore.testing import ovsdb_server

ROOT = pathlib.Path(__file__).parents[3]
LIMIT_S = 30.0


def _conformance() -> Any:
    """The real API server as the conformance tests start it."""
    path = ROOT / "tests" / "conformance" / "kube" / "conftest.py"
    spec = importlib.util.spec_from_file_location("conformance_kube", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def api(tools: Any) -> Iterator[Any]:
    etcd, apiserver = tools.path("etcd"), tools.path("kube-apiserver")
    with tempfile.TemporaryDirectory(prefix="ashore-ctl-") as folder, contextlib.ExitStack() as undo:
        server = _conformance().Real(pathlib.Path(folder), etcd, apiserver)
        undo.callback(server.close)
        server.start()
        asyncio.run(_install(server))
        yield server


async def _install(server: Any) -> None:
    async with server.client() as admin:
        for name in ("crds.yaml", "controller.yaml"):
            for document in yaml.safe_load_all((ROOT / "deploy" / "manifests" / name).read_text()):
                group, _, version = document["apiVersion"].rpartition("/")
                plural = document["kind"].lower() + "s"
                kind = kube.Kind(group, version, plural, objects.Namespace, namespaced=True)
                await admin.create(kind, document, document["metadata"].get("namespace", ""))
        async with asyncio.timeout(LIMIT_S):
            while True:
                with contextlib.suppress(kube.ApiError):
                    async for _ in admin.list(kube.NETWORK_CONFIGS):
                        pass
                    return
                await asyncio.sleep(0.1)


@pytest.fixture
async def northbound(tools: Any) -> AsyncIterator[ovsdb_server.RealServer]:
    with tempfile.TemporaryDirectory(prefix="ashore-nb-") as folder:
        server = ovsdb_server.RealServer(tools, pathlib.Path(folder))
        await server.create()
        await server.start()
        try:
            yield server
        finally:
            await server.stop()


def config(**more: Any) -> dict[str, Any]:
    networks = [{"cidr": "10.244.0.0/16", "hostPrefix": 24}, {"cidr": "fd00:10:244::/48", "hostPrefix": 64}]
    spec = {"clusterNetworks": networks, "serviceCIDRs": ["10.96.0.0/16", "fd00:10:96::/112"], **more}
    return {"metadata": {"name": "default"}, "spec": spec}


async def until(claim: Callable[[], Any], what: str) -> None:
    try:
        async with asyncio.timeout(LIMIT_S):
            while not await claim():  # noqa: ASYNC110 (the thing waited for is in other processes)
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"not within {LIMIT_S:g} s: {what}")


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"clusterNetworks": [{"cidr": "10.244.0.1/16", "hostPrefix": 24}]}, "must be a CIDR without host bits"),
        ({"clusterNetworks": [{"cidr": "10.244.0.0/16", "hostPrefix": 12}]}, "shorter than the range's own"),
        ({"clusterNetworks": [{"cidr": "10.244.0.0/16", "hostPrefix": 30}]}, "at most 29"),
        ({"serviceCIDRs": ["nonsense"]}, "must be a CIDR"),
        ({"mtu": 900}, "at least 1280"),
        ({"offload": "maybe"}, "Unsupported value"),
    ],
)
async def test_the_api_server_refuses_a_config_that_can_not_be_right(api: Any, spec: dict[str, Any], why: str) -> None:
    async with api.client() as admin:
        with pytest.raises(kube.Invalid, match=why):
            await admin.create(kube.NETWORK_CONFIGS, config(**spec))


async def test_its_rights_suffice_for_its_work(api: Any, northbound: ovsdb_server.RealServer, tmp_path: Any) -> None:
    api.credentials("ashore:controller", [], directory="controller")
    folder = api.directory / "controller"
    (folder / "nb").mkdir()
    (folder / "nb" / "remote").write_text(northbound.remote)
    stop = asyncio.Event()
    task = asyncio.ensure_future(main.run(Settings(folder, "cp-a", lease_s=3.0), stop))
    notes = {annotations.NODE_CHASSIS_ID: "chassis-1", annotations.FREE_VFS: "0"}
    async with api.client() as admin:
        try:
            await admin.create(kube.NETWORK_CONFIGS, config())
            await admin.create(kube.NODES, {"metadata": {"name": "host-1", "annotations": notes}})
            spec = {"nodeName": "host-1", "containers": [{"name": "c", "image": "i"}]}
            spec["tolerations"] = [{"operator": "Exists"}]
            fault = {annotations.CONNECTION_STATUS: '{"default":{"Status":"Error","Reason":"no representor"}}'}
            await admin.create(
                kube.PODS, {"metadata": {"name": "web", "namespace": "default", "annotations": fault}, "spec": spec}
            )

            async def served() -> bool:
                pod = await admin.get(kube.PODS, "web", "default")
                return annotations.POD_NETWORKS in pod.metadata.annotations

            async def tainted() -> bool:
                return "dpu.ashore.dev/vfs-exhausted" in {
                    t.key for t in (await admin.get(kube.NODES, "host-1")).spec.taints
                }

            async def told() -> bool:
                return any([e.message == "no representor" async for e in admin.list(kube.EVENTS, namespace="default")])

            async def in_use() -> bool:
                found = await admin.get(kube.NETWORK_CONFIGS, "default")
                return {c.type: c.status for c in found.status.conditions} == {"Valid": "True", "InUse": "True"}

            for claim in (served, tainted, told, in_use):
                await until(claim, claim.__name__)
            lease = await admin.get(kube.LEASES, "ashore-controller", "ovn-kubernetes")
            assert lease.spec.holder_identity == "cp-a"
            stop.set()
            await asyncio.wait_for(task, 20)
            lease = await admin.get(kube.LEASES, "ashore-controller", "ovn-kubernetes")
            assert not lease.spec.holder_identity
        finally:
            stop.set()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            for kind, name, where in ((kube.PODS, "web", "default"), (kube.NODES, "host-1", "")):
                await admin.delete(kind, name, where, grace_s=0)
            await admin.delete(kube.NETWORK_CONFIGS, "default")
