# SPDX-License-Identifier: Apache-2.0
"""The same exchanges through a real kube-apiserver: whose writes meet there, and that none takes another's away."""

import asyncio
import contextlib
import importlib.util
import pathlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import yaml

from ashore import kube
from ashore.kube import objects
from ashore.ovs import daemons
from ashore.schema import vswitch
from ashore.testing import ovsdb as fake_ovsdb

from . import cluster, conftest, go_dpu_host, go_form, our_dpu, our_host

ROOT = pathlib.Path(__file__).parents[2]
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
def server(tools: Any) -> Iterator[Any]:
    etcd, apiserver = tools.path("etcd"), tools.path("kube-apiserver")
    with tempfile.TemporaryDirectory(prefix="ashore-interop-") as folder, contextlib.ExitStack() as undo:
        started = _conformance().Real(pathlib.Path(folder), etcd, apiserver)
        undo.callback(started.close)
        started.start()
        yield started


@pytest.fixture
async def world(server: Any) -> AsyncIterator[cluster.Cluster]:
    async with server.client() as admin:
        await _install(admin)
        made = cluster.Cluster(admin)
        following = asyncio.create_task(made.follow())
        await made.node()
        yield made
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        for pod in list(made.seen.store):
            await made.delete(pod.name)
        await admin.delete(kube.NODES, cluster.NODE)
        with contextlib.suppress(kube.NotFound):
            await admin.delete(kube.LEASES, f"ovn-dpu-{cluster.NODE}", "ovn-kubernetes")


async def _install(admin: kube.Client) -> None:
    for name in ("ns", "ovn-kubernetes"):
        with contextlib.suppress(kube.AlreadyExists):
            await admin.create(kube.NAMESPACES, {"metadata": {"name": name}})
    for document in yaml.safe_load_all((ROOT / "deploy" / "manifests" / "crds.yaml").read_text()):
        group, _, version = document["apiVersion"].rpartition("/")
        kind = kube.Kind(group, version, document["kind"].lower() + "s", objects.Namespace, namespaced=True)
        with contextlib.suppress(kube.AlreadyExists):
            await admin.create(kind, document)
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                await admin.create(kube.NETWORK_CONFIGS, cluster.CONFIG)
            except kube.AlreadyExists:
                return
            except kube.ApiError:
                await asyncio.sleep(0.1)  # a new kind offers nothing to wait on
            else:
                return


@pytest.fixture
async def with_go_host(
    server: Any, world: cluster.Cluster, run_dir: pathlib.Path
) -> AsyncIterator[conftest.WithGoHost]:  # fmt: skip
    async with contextlib.AsyncExitStack() as undo:
        api = await undo.enter_async_context(server.client())
        ovs = await undo.enter_async_context(fake_ovsdb.FakeOvsdb("Open_vSwitch", vswitch.TABLES, run_dir / "db.sock"))
        for daemon in (daemons.VSWITCHD, daemons.CONTROLLER):
            listener = await asyncio.start_unix_server(our_dpu.answer_control, str(run_dir / f"{daemon}.ctl"))
            undo.callback(listener.close)
        pair = conftest.WithGoHost(world, api, go_dpu_host.clock_of(asyncio.get_running_loop()))
        pair.ours = our_dpu.OurDpu(ovs, run_dir, pair.clock)
        pair.tasks.begin(pair.ours.ovn())
        yield pair
        await pair.ours.end()
        await pair.tasks.end()


@pytest.fixture
async def with_go_dpu(
    server: Any, world: cluster.Cluster, tmp_path: pathlib.Path
) -> AsyncIterator[conftest.WithGoDpu]:  # fmt: skip
    async with server.client() as api:
        pair = conftest.WithGoDpu(world, api, go_dpu_host.clock_of(asyncio.get_running_loop()))
        pair.ours = our_host.OurHost(tmp_path)
        yield pair
        await pair.ours.end()
        await pair.tasks.end()


async def test_a_pod_of_a_go_host_comes_and_goes_through_a_real_api(with_go_host: conftest.WithGoHost) -> None:
    pair = with_go_host
    await pair.up()
    await pair.cluster.pod(allocated=False)
    adding = asyncio.create_task(pair.go.add("web", "s1", 3, limit_s=LIMIT_S))
    await cluster.until(lambda: "web" in {key.name for key in pair.cluster.seen.store}, "the pod is seen")
    await pair.cluster.allocate()
    given = await adding
    await cluster.until(lambda: pair.cluster.status() is not None, "the status is seen", limit_s=LIMIT_S)
    notes = pair.cluster.notes()
    assert {go_form.DETAILS, go_form.STATUS, go_form.NETWORKS} <= notes.keys(), "nobody took another's away"
    assert pair.ours.ports()["pf0vf3"]["ip_addresses"] == given["addresses"][0]
    await pair.go.look()
    pair.go.status()
    await pair.go.delete("web", "s1")
    await cluster.until(lambda: pair.cluster.status() == "{}", "the status is the empty map", limit_s=LIMIT_S)
    assert set(pair.ours.ports()) == {"pf0vf0"}


async def test_many_pods_at_once_lose_no_write_to_a_conflict(with_go_dpu: conftest.WithGoDpu) -> None:
    """Whole objects (the Go DPU's and its zone's) and merge patches (ours) meet on the same pods."""
    pair = with_go_dpu
    await pair.up()
    pair.go.install_s = 0
    pods = [await pair.cluster.pod(f"web-{index}", allocated=False) for index in range(3)]
    await asyncio.gather(*(pair.ours.cni("ADD", pod, f"s{index}") for index, pod in enumerate(pods)))
    assert {port.get("sandbox") for port in pair.go.ports.values()} == {None, "s0", "s1", "s2"}
    for pod in pods:
        name = pod.metadata.name
        await cluster.until(lambda name=name: pair.cluster.status(name) is not None, name, limit_s=LIMIT_S)  # type: ignore[misc]
        assert {go_form.DETAILS, go_form.STATUS, go_form.NETWORKS} <= pair.cluster.notes(name).keys()
    await asyncio.gather(*(pair.ours.cni("DEL", pod, f"s{index}") for index, pod in enumerate(pods)))
    await cluster.until(lambda: set(pair.go.ports) == {"rep0-0"}, "all are unplugged", limit_s=LIMIT_S)
    assert pair.ours.free() == ["ens1f0v1", "ens1f0v2", "ens1f0v3"]
