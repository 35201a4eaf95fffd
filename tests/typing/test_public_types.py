# SPDX-License-Identifier: Apache-2.0
"""What must type-check as written here; mypy strict reads it in the lint step, and it runs once as it stands."""

from typing import assert_type

from ashore import kube
from ashore.api import annotations, config, net
from ashore.kube import objects
from ashore.schema import nb, row


def test_decoders_give_what_their_names_say() -> None:
    details = annotations.decode_details("{}")
    assert_type(details, dict[str, annotations.ConnectionDetails])
    assert_type(annotations.decode_node_id("3"), int)
    assert details == {}


def test_a_kind_carries_its_struct() -> None:
    assert_type(kube.PODS, kube.Kind[objects.Pod])
    assert_type(kube.NODES, kube.Kind[objects.Node])


def test_rows_and_plans_are_typed() -> None:
    uuid = row.row_id("zone", "Logical_Switch", "n1")
    switch = nb.LogicalSwitch(uuid=uuid, name="n1")
    assert_type(uuid, row.Uuid)
    assert_type(row.Plan((switch,)) + row.Plan(), row.Plan)


def test_settings_are_parsed_not_strings() -> None:
    spec = config.NetworkConfigSpec(
        cluster_networks=(config.ClusterNetwork("10.0.0.0/16", 24),), service_cidrs=("10.96.0.0/16",)
    )
    assert_type(config.parse(spec).service_cidrs, tuple[net.Network, ...])
