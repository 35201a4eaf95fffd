# SPDX-License-Identifier: Apache-2.0
import msgspec
import pytest

from ashore.api import config

GOOD = config.NetworkConfigSpec(
    cluster_networks=(
        config.ClusterNetwork("10.244.0.0/16", 24),
        config.ClusterNetwork("fd00:10:244::/48", 64),
    ),
    service_cidrs=("10.96.0.0/16", "fd00:10:96::/112"),
)


def problems(**changes: object) -> dict[str, str]:
    with pytest.raises(config.Invalid) as found:
        config.parse(msgspec.structs.replace(GOOD, **changes))
    return {problem.field: problem.what for problem in found.value.problems}


def test_a_dual_stack_spec_is_parsed_once() -> None:
    settings = config.parse(GOOD)
    assert settings.families == (4, 6)
    assert settings.snat_port_range == (16384, 28671)


def test_a_single_stack_spec_needs_no_other_family() -> None:
    spec = msgspec.structs.replace(
        GOOD, cluster_networks=(config.ClusterNetwork("10.244.0.0/16", 24),), service_cidrs=("10.96.0.0/16",)
    )
    assert [n.version for n in config.parse(spec).join_cidrs] == [4]


def test_overlapping_ranges_name_both() -> None:
    found = problems(service_cidrs=("10.244.128.0/20", "fd00:10:96::/112"))
    assert found == {"serviceCIDRs": "10.244.128.0/20 overlaps clusterNetworks 10.244.0.0/16"}


def test_each_wrong_field_gets_its_own_problem() -> None:
    found = problems(mtu=100, encap_family="IPX", offload="maybe", node_port_range="9-1", snat_port_range="x")
    assert set(found) == {"mtu", "encapFamily", "offload", "nodePortRange", "snatPortRange"}


def test_a_host_prefix_that_cuts_nothing_is_refused() -> None:
    found = problems(cluster_networks=(config.ClusterNetwork("10.244.0.0/16", 16 - 1),))
    assert "clusterNetworks[0].hostPrefix" in found


def test_a_missing_service_family_is_named() -> None:
    assert "IPv6" in problems(service_cidrs=("10.96.0.0/16",))["serviceCIDRs"]


def test_snat_and_node_ports_must_not_overlap() -> None:
    assert "overlaps nodePortRange" in problems(snat_port_range="20000-40000")["snatPortRange"]


def test_json_uses_the_resource_fields_names() -> None:
    text = msgspec.json.encode(GOOD).decode()
    assert '"clusterNetworks":[{"cidr":"10.244.0.0/16","hostPrefix":24}' in text
    assert '"serviceCIDRs"' in text
