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


@pytest.mark.parametrize("lists", ["", '"ip_addresses":null,"gateway_ips":null,"routes":null,'])
def test_pod_networks_of_before_dual_stack_are_read(lists: str) -> None:
    text = '{"default":{%s"ip_address":"10.1.1.3/24","mac_address":"0a:58:0a:01:01:03","gateway_ip":"10.1.1.1"}}'
    network = a.decode_pod_networks(text % lists)["default"]
    assert (network.ip_addresses, network.gateway_ips, network.routes) == (("10.1.1.3/24",), ("10.1.1.1",), ())


def test_a_second_network_without_addresses_does_not_hide_the_first() -> None:
    second = '"ns/nad":{"ip_addresses":null,"mac_address":"0a:58:00:00:00:01","role":"secondary"}'
    first = '"default":{"ip_addresses":["10.1.1.3/24"],"mac_address":"0a:58:0a:01:01:03"}'
    found = a.decode_pod_networks(f"{{{first},{second}}}")
    assert (found["default"].ip_addresses, found["ns/nad"].ip_addresses) == (("10.1.1.3/24",), ())
    with pytest.raises(a.Malformed, match="the default network has no address"):
        a.decode_pod_networks('{"default":{"mac_address":"0a:58:0a:01:01:03"}}')


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
