# SPDX-License-Identifier: Apache-2.0
"""Requests that no runtime would make, answers that no DPU would give: each is a CNI failure, and nothing stays."""

import itertools
import random
from typing import Any

import pytest

from ashore.api import annotations, cni

Host = Any
pytestmark = pytest.mark.looptime
VALID = "cni.dev/valid-attachments"
WORDS = ["", "s1", "s2", "../x", "\0", "a" * 3000, "²"]
COMMANDS = ["ADD", "ADD", "ADD", "DEL", "CHECK", "GC", "STATUS", "", "add", "\0"]
NETNS = ["/run/netns/pod", "/run/netns/pod2", "", "/etc/passwd", "pod"]
ARGS = ["K8S_POD_NAMESPACE=default;K8S_POD_NAME=web", "", ";", "=", "K8S_POD_NAME",
        "K8S_POD_NAMESPACE=default;K8S_POD_NAME=odd;K8S_POD_UID=u2", "K8S_POD_NAMESPACE=;K8S_POD_NAME=web"]  # fmt: skip
VALUES: list[Any] = [None, "", 0, -1, 1.5, True, [], {}, [None], [{}], {"deviceID": 5}, {"deviceID": "0000:03:00.2"},
          "0000:03:00.3", "0000:03:00.3\n", [{"containerID": "s1", "ifname": "eth0"}], {"ips": 5}, {"ips": [None]},
          {"interfaces": [5]}, {"interfaces": {}, "ips": [{"address": "x"}]}, "9.9.9", "0.3.1"]  # fmt: skip
KEYS = ["deviceID", "runtimeConfig", "prevResult", "cniVersion", VALID, "bandwidth"]
STATUSES = ['{"default":{"Status":"Ready"}}', '{"default":{"Status":5}}', "[", '{"default":{"Status":"Gone"}}', "{}"]
ODD_NETWORKS = ["", "{}", "[]", '{"default":{}}', '{"default":{"ip_addresses":["x"],"mac_address":"y"}}',
                '{"default":{"ip_addresses":[],"mac_address":"0a:58:0a:f4:01:05"}}']  # fmt: skip


def request(chance: random.Random) -> cni.Request:
    """A request as a runtime makes it, with up to two parts bent."""
    good: dict[str, Any] = {
        "command": chance.choice(["ADD", "ADD", "DEL", "CHECK", "GC"]), "container_id": chance.choice(["s1", "s2"]),
        "netns": chance.choice(NETNS[:2]), "ifname": "eth0", "args": ARGS[0], "pod_uid": "u1",
        "config": {VALID: [{"containerID": "s1", "ifname": "eth0"}]},
    }  # fmt: skip
    bent = {
        "command": chance.choice(COMMANDS), "container_id": chance.choice(WORDS[1:]), "netns": chance.choice(NETNS),
        "ifname": chance.choice(["net1", "", "../x"]), "args": chance.choice(ARGS),
        "config": {key: chance.choice(VALUES) for key in chance.sample(KEYS, 2)}, "pod_uid": chance.choice(WORDS),
    }  # fmt: skip
    return cni.Request(**good | {field: bent[field] for field in chance.sample(list(bent), chance.randrange(3))})


@pytest.mark.parametrize("seed", range(25))
async def test_odd_requests_are_served_or_refused_and_leave_nothing(host: Host, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 (a repeatable test)
    host.api.put("odd", "u2", **{annotations.POD_NETWORKS: chance.choice(ODD_NETWORKS)})
    seen, served = set(), 0
    for _ in range(50):
        asked = request(chance)
        seen.add((asked.container_id, asked.ifname))
        host.dpu.status = chance.choice([annotations.READY, annotations.READY, annotations.ERROR, "", "odd"])
        if chance.random() < 0.2:
            host.api.annotate("web", {annotations.CONNECTION_STATUS: chance.choice([*STATUSES, None])})
        try:
            served += bool(await host.attach.handle(asked))
        except cni.Failure as failure:
            assert failure.error.msg.startswith("ashore: ")  # noqa: PT017 (most are refused, not all)
        owned = [(each.sandbox, each.ifname) for each in host.pool.store.by_device.values()]
        assert len(owned) == len(set(owned))
        for one, other in itertools.combinations(host.kernel.namespaces.values(), 2):
            assert not {link.link.alias for link in one.values()} & {link.link.alias for link in other.values()} - {""}
    for sandbox, ifname in seen:
        await host.attach.handle(cni.Request(command="DEL", container_id=sandbox, ifname=ifname))
    assert host.is_clean()
    assert served, "nothing was ever attached, so nothing was tried"
