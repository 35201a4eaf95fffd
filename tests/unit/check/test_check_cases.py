# SPDX-License-Identifier: Apache-2.0
import msgspec
import pytest

from ashore.check import checking, known, matrix, verdict, world

NODES = (
    world.Node("full-1", "full", ("172.30.3.1", "fd00::3:1")),
    world.Node("host-1", "dpu", ("172.30.1.1", "fd00::1:1")),
    world.Node("host-2", "dpu", ("172.30.1.2", "fd00::1:2")),
)
POD = world.Actor("pod", "host-1", "dpu", ("10.244.1.3", "fd00:10::3"))
OTHER = world.Actor("pod", "host-2", "dpu", ("10.244.2.3", "fd00:10::4"))
HOST = world.Actor("host", "full-1", "full", ("172.30.3.1", "fd00::3:1"))
OUTSIDE = world.Actor("external", ips=("203.0.113.9",))
SERVICE = world.Service(
    "pod-host-2",
    {"cluster-ip": ("10.96.0.9",), "external-ip": (), "load-balancer": ("198.51.100.1",)},
    {"tcp": 30080, "udp": 30081},
)


def asked(client: world.Actor, server: world.Actor = OTHER) -> set[tuple[str, str]]:
    found = matrix.questions((client,), (server,), {SERVICE.actor: SERVICE}, NODES)
    return {(each.via, each.target) for each in found}


def question(**changes: object) -> verdict.Question:
    base = verdict.Question(
        client=POD, server=OTHER.title, via="direct", placement="other node", protocol="tcp", ip="10.244.2.3", port=1,
        expect=(OTHER.name,),
    )  # fmt: skip
    return msgspec.structs.replace(base, **changes)


def answer(**changes: object) -> verdict.Answer:
    return msgspec.structs.replace(verdict.Answer("t", ok=True, server=OTHER.name, seen_as="10.244.1.3"), **changes)


def test_a_pod_asks_directly_and_by_every_kind_of_address() -> None:
    assert {via for via, _ in asked(POD)} == {
        "direct", "cluster-ip", "load-balancer", "node-port-own-node", "node-port-other-node",
    }  # fmt: skip
    assert ("node-port-own-node", "tcp://172.30.1.1:30080") in asked(POD)
    assert ("node-port-other-node", "udp://172.30.3.1:30081") in asked(POD)
    assert ("direct", "tcp://[fd00:10::4]:17000") in asked(POD)


def test_outside_asks_what_is_meant_for_it() -> None:
    assert {via for via, _ in asked(OUTSIDE)} == {"load-balancer", "node-port-own-node", "node-port-other-node"}
    assert {via for via, _ in asked(OUTSIDE, HOST)} == {"direct"}


def test_a_service_of_one_family_is_not_asked_in_the_other() -> None:
    assert not [target for via, target in asked(POD) if via.startswith("node-port") and "[" in target]


def test_nobody_asks_itself_directly_but_by_its_service() -> None:
    assert {via for via, _ in asked(OTHER)} >= {"cluster-ip"}
    assert "direct" not in {via for via, _ in asked(OTHER)}


@pytest.mark.parametrize(
    ("client", "server", "words"),
    [(POD, OTHER, "other node"), (POD, HOST, "other mode"), (POD, POD, "same node"), (OUTSIDE, POD, "outside")],
)
def test_placements_have_names(client: world.Actor, server: world.Actor, words: str) -> None:
    assert matrix.placement(client, server) == words


def test_two_nodes_of_each_mode_take_part() -> None:
    many = [world.Node(f"host-{i}", "dpu", ()) for i in range(9)] + [world.Node("full-1", "full", ())]
    assert [node.name for node in world.choose(many)] == ["full-1", "host-0", "host-1"]


def test_a_node_that_takes_no_pods_takes_no_part() -> None:
    ready = {"conditions": [{"type": "Ready", "status": "True"}], "addresses": []}
    listing = {
        "items": [
            {"metadata": {"name": "a"}, "status": ready},
            {"metadata": {"name": "b"}, "status": ready, "spec": {"unschedulable": True}},
            {"metadata": {"name": "c"}, "status": {**ready, "conditions": []}},
            {"metadata": {"name": "d"}, "status": ready, "spec": {"taints": [{"effect": "NoSchedule"}]}},
        ]
    }
    leases = {"items": [{"metadata": {"name": "ovn-dpu-a"}}]}
    assert world.nodes(listing, leases) == (world.Node("a", "dpu", ()),)


@pytest.mark.parametrize(
    ("asked_for", "told", "reason"),
    [
        ({}, {}, ""),
        ({}, {"ok": False, "error": "i/o timeout"}, "i/o timeout"),
        ({}, {"server": "pod-host-9"}, "pod-host-9 answered instead of pod-host-2"),
        ({"sources": ("203.0.113.9",)}, {}, "the server saw 10.244.1.3, not 203.0.113.9"),
        ({"expect": ()}, {}, "pod-host-2 answered, and nobody should have"),
        ({"expect": ()}, {"ok": False, "error": "i/o timeout"}, ""),
        ({"expect": (), "refused": True}, {"ok": False, "error": "connection refused"}, ""),
        (
            {"expect": (), "refused": True},
            {"ok": False, "error": "i/o timeout"},
            "nobody is there and the client isn't told: i/o timeout",
        ),
    ],
)
def test_an_answer_is_judged_by_what_was_expected(
    asked_for: dict[str, object], told: dict[str, object], reason: str
) -> None:
    case = verdict.judge(question(**asked_for), answer(**told))
    assert (case.reason, case.ok) == (reason, not reason)


def test_a_client_that_cannot_be_asked_has_not_answered() -> None:
    assert verdict.judge(question(), None).reason == "the client couldn't be asked"


def test_a_failure_is_known_only_where_it_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "KNOWN", (known.Known("a userspace switch", via="direct", family="IPv4"),))
    bad = verdict.judge(question(), answer(ok=False, error="x"))
    assert known.mark(bad).known
    assert known.mark(bad).hint == "a userspace switch"
    assert not known.mark(msgspec.structs.replace(bad, via="cluster-ip")).known
    assert not known.mark(msgspec.structs.replace(bad, ok=True)).known


def test_external_addresses_are_dealt_out_one_of_a_family_each() -> None:
    shares = checking._shares(("198.51.100.1", "198.51.100.2", "2001:db8::1"), 3)
    assert shares == [["198.51.100.1", "2001:db8::1"], ["198.51.100.2"], []]
