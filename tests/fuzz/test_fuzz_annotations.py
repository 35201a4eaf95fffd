# SPDX-License-Identifier: Apache-2.0
"""Whatever another half writes into an annotation is a pod's or node's own trouble, told by name."""

import ipaddress
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ashore import kube
from ashore.agent import bandwidth, dpu_claims, gateway, node_host, peer
from ashore.api import annotations, names, net
from ashore.controller import records
from ashore.kube import client, objects

READERS: dict[str, Callable[[str], object]] = {
    annotations.CONNECTION_DETAILS: annotations.decode_details,
    annotations.CONNECTION_STATUS: annotations.decode_status,
    annotations.POD_NETWORKS: annotations.decode_pod_networks,
    annotations.NODE_MGMT_PORT: annotations.decode_management_port,
    annotations.NODE_SUBNETS: annotations.decode_node_subnets,
    annotations.PRIMARY_DPU_HOST_ADDR: annotations.decode_host_address,
    annotations.L3_GATEWAY_CONFIG: annotations.decode_gateway_config,
    annotations.NODE_ID: annotations.decode_node_id,
    annotations.HOST_CIDRS: lambda text: annotations.decode_string_list(annotations.HOST_CIDRS, text),
}
FIELDS = ["default", "ns/nad", "pfId", "vfId", "sandboxId", "Status", "Reason", "ip_addresses", "mac_address", "routes",
          "ip_address", "PfId", "FuncId", "mode", "mtu", "ip-addresses", "ipv4", "ipv6"]  # fmt: skip
ODD = ["", "0", "-1", "3", "../../etc", "0000:03:00.1\n", "ff:ff:ff:ff:ff:ff", "10.244.0.5/24", "10.0.0.0/99", "²",
       "fe80::1%a b/64", "9" * 5000, "/run/netns/x\0", None, -1, 0, 2**70, 1e400, True]  # fmt: skip
LEAVES: st.SearchStrategy[Any] = st.sampled_from(ODD) | st.text(max_size=8)
VALUES: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=12,
)
ANY_CHARACTER = st.characters(codec=None, exclude_categories=())
TEXTS = (
    VALUES.map(json.dumps)
    | VALUES.map(lambda value: json.dumps(value, ensure_ascii=False)[:-1])
    | st.text(ANY_CHARACTER, max_size=30)
)


@pytest.mark.parametrize("key", READERS)
@given(text=TEXTS)
@example(text="[" * 100_000)
@example(text='{"default":' * 3000)
@example(text='"\ud800"')
def test_an_annotation_is_read_or_refused_by_its_key(key: str, text: str) -> None:
    try:
        READERS[key](text)
    except annotations.Malformed as error:
        assert key in str(error)  # noqa: PT017 (most values may be refused, not all)


def test_an_address_with_a_scope_is_refused() -> None:
    text = '{"default":{"ip_addresses":["fe80::1%x \\" y/64"],"mac_address":"0a:58:0a:f4:00:05"}}'
    with pytest.raises(annotations.Malformed, match="has a scope"):
        annotations.decode_pod_networks(text)


def pod(notes: dict[str, str], uid: str = "u1", created: str = "2026-01-01T00:00:00Z") -> objects.Pod:
    meta = objects.ObjectMeta(name="web", namespace="ns", uid=uid, annotations=notes, creation_timestamp=created)
    return objects.Pod(metadata=meta, spec=objects.PodSpec(node_name="host-1"))


CLAIM = {annotations.CONNECTION_DETAILS: '{"default":{"pfId":"0","vfId":"3","sandboxId":"s"}}'}
NOTES = st.dictionaries(
    st.sampled_from([annotations.CONNECTION_DETAILS, annotations.POD_NETWORKS, bandwidth.INGRESS]), TEXTS
)
ENDLESS_LIMIT = CLAIM | {bandwidth.INGRESS: "9" * 400}


@given(NOTES)
@example(ENDLESS_LIMIT)
def test_a_pods_claim_is_numbers_in_range_or_refused_by_the_pods_name(notes: dict[str, str]) -> None:
    try:
        claim = dpu_claims.read_claim(pod(notes), "host-1")
    except dpu_claims.Wrong as error:
        assert "ns/web" in str(error)  # noqa: PT017 (most values may be refused, not all)
        return
    if claim is not None:
        assert 0 <= claim.function.pf <= 9999
        assert 0 <= claim.function.vf <= 9999
        assert claim.sandbox


@given(NOTES)
@example(ENDLESS_LIMIT)
def test_a_hostile_neighbour_doesnt_take_the_function_that_a_pod_holds(notes: dict[str, str]) -> None:
    mine = dpu_claims.read_claim(pod(CLAIM), "host-1")
    assert mine is not None
    hostile = pod(CLAIM | notes, "u0", "1970-01-01T00:00:00Z")
    assert dpu_claims.rightful(mine, [hostile], "host-1", "u1").uid == "u1"


@given(TEXTS)
def test_a_management_port_is_read_or_refused_by_the_nodes_name(text: str) -> None:
    node = objects.Node(metadata=objects.ObjectMeta(name="host-1", annotations={annotations.NODE_MGMT_PORT: text}))
    try:
        dpu_claims.management_function(node)
    except dpu_claims.Wrong as error:
        assert "host-1" in str(error)  # noqa: PT017 (most values may be refused, not all)


NODE_NOTES = st.dictionaries(st.sampled_from([*READERS, annotations.FREE_VFS, annotations.ZONE_NAME]), TEXTS)
SCOPED = 'fd00::1%a \\" b/64'


def node(notes: dict[str, str]) -> objects.Node:
    return objects.Node(metadata=objects.ObjectMeta(name="host-1", annotations=notes))


@given(NODE_NOTES)
@example({annotations.FREE_VFS: "9" * 5000})
@example({annotations.HOST_CIDRS: f'["{SCOPED}"]'})
@example({annotations.L3_GATEWAY_CONFIG: json.dumps({"default": {
    "mode": "shared", "mac-address": "02:00:00:00:00:01", "ip-addresses": ["fd00::1%a b/64", "10.0.0.1/24"],
    "next-hops": ["fd00::2%a b"], "vlan-id": "9" * 5000}})})  # fmt: skip
def test_what_a_node_says_of_itself_reaches_the_plan_as_addresses_or_not_at_all(notes: dict[str, str]) -> None:
    found = node(notes)
    records.taints(found)
    record = records.node_record(found, notes.get(annotations.ZONE_NAME, "global"))
    assert record is not None
    leg = record.gateway
    told = [*record.host_addresses, *(leg.addresses + leg.next_hops if leg else ()), *gateway._host_addresses(found)]
    assert not [each for each in told if "%" in str(each)]
    assert isinstance(node_host._told_device(found), str)


@given(st.dictionaries(st.sampled_from([annotations.CONNECTION_STATUS, annotations.POD_NETWORKS]), TEXTS))
@example({annotations.CONNECTION_STATUS: '{"default":{"Status":"Error","Reason":null}}'})
def test_what_a_dpu_says_of_a_pod_is_read_as_far_as_it_can_be(notes: dict[str, str]) -> None:
    found = pod(notes)
    assert all(isinstance(reason, str) for reason in records.faults(found))
    record = records.pod_record(found)
    assert record is not None
    assert all(isinstance(each, ipaddress.IPv4Interface | ipaddress.IPv6Interface) for each in record.recorded)
    assert set(dpu_claims.status_of(found)) == set(records.connection_status(found))


class Leases:
    """An informer that knows one lease or none."""

    def __init__(self, lease: objects.Lease | None) -> None:
        self.store = {} if lease is None else {kube.key_of(lease): lease}

    def subscribe(self, look: Callable[[Any, Any], None]) -> None:
        for lease in self.store.values():
            look(None, lease)


LEASE_SPECS = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("holderIdentity", "leaseDurationSeconds", "renewTime", "acquireTime"), LEAVES)
)


@given(LEASE_SPECS | VALUES, st.sampled_from([0.0, 1.0, 1e4, 1e9]))
@example({"leaseDurationSeconds": 12, "renewTime": ""}, 0.0)
@example({"leaseDurationSeconds": -1, "renewTime": "now"}, 0.0)
def test_only_a_renewed_lease_that_still_lasts_keeps_a_dpu_alive(spec: Any, silent_s: float) -> None:
    name = names.dpu_lease(net.NodeName("host-1"))
    body = {"metadata": {"name": name, "namespace": names.LEASE_NAMESPACE}, "spec": spec}
    item = client.decode_item(kube.LEASES, msgspec.Raw(json.dumps(body).encode()))
    lease = item if isinstance(item, objects.Lease) else None
    now = [0.0]
    informer: Any = Leases(lease)
    watch = peer.LeaseWatch(informer, "host-1", clock=lambda: now[0])
    now[0] = silent_s
    is_promised = lease is not None and lease.spec.renew_time
    lasts_s = (lease.spec.lease_duration_seconds or 0) if lease and is_promised else 0
    assert (watch.problem() == "") is (silent_s <= lasts_s and lasts_s > 0)
