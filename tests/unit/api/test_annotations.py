# SPDX-License-Identifier: Apache-2.0
import ipaddress

import pytest

from ashore.api import annotations as a
from ashore.api import net


def test_connection_details_have_the_anchors_json() -> None:
    details = {"default": a.ConnectionDetails("0", "3", "abc", "ens1f0v3")}
    text = a.encode_details(details)
    assert text == '{"default":{"pfId":"0","sandboxId":"abc","vfId":"3","vfNetdevName":"ens1f0v3"}}'
    assert a.decode_details(text) == details


def test_details_without_a_netdev_leave_the_key_out() -> None:
    assert "vfNetdevName" not in a.encode_details({"default": a.ConnectionDetails("0", "3", "abc")})


def test_legacy_details_without_the_map_are_the_default_networks() -> None:
    assert a.decode_details('{"pfId":"0","vfId":"1","sandboxId":"s"}') == {
        "default": a.ConnectionDetails("0", "1", "s")
    }


def test_a_status_of_the_anchor_is_read_and_unknown_fields_pass() -> None:
    status = a.decode_status('{"default":{"Status":"Ready","future":1},"ns/nad":{"Status":"Error","Reason":"x"}}')
    assert status["default"].status == a.READY
    assert status["ns/nad"].reason == "x"


def test_an_empty_status_map_is_nothing() -> None:
    assert a.decode_status("{}") == {}


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"default":3}', '{"default":{"pfId":0,"vfId":"1","sandboxId":"s"}}', "null"]
)
def test_malformed_details_name_their_key(text: str) -> None:
    with pytest.raises(a.Malformed, match=r"dpu\.connection-details"):
        a.decode_details(text)


def test_pod_networks_with_a_bad_address_are_malformed() -> None:
    with pytest.raises(a.Malformed, match="pod-networks"):
        a.decode_pod_networks('{"default":{"ip_addresses":["10.1.1.300/24"],"mac_address":"x"}}')


def test_legacy_management_port_is_read() -> None:
    assert a.decode_management_port('{"PfId":0,"FuncId":2}')["default"].func_id == 2


def test_node_subnets_take_a_bare_string() -> None:
    assert a.decode_node_subnets('{"default":"10.1.0.0/24"}') == {"default": (ipaddress.ip_network("10.1.0.0/24"),)}


@pytest.mark.parametrize("text", ["0", "-1", "x", "", "9999999999", "1.5", "²"])
def test_a_node_id_is_a_positive_number(text: str) -> None:
    with pytest.raises(a.Malformed):
        a.decode_node_id(text)


def test_macs_are_the_anchors() -> None:
    assert net.mac_of(ipaddress.ip_address("10.128.1.5")) == "0a:58:0a:80:01:05"
    assert net.mac_of(ipaddress.ip_address("fd00::1")).startswith("0a:58:")
