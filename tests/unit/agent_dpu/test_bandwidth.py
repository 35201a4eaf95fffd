# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ashore.agent import bandwidth
from ashore.api.net import PodKey
from ashore.kube import objects
from ashore.schema import row, vswitch
from ashore.wiring import dpu


def pod(**notes: str) -> objects.Pod:
    keys = {f"kubernetes.io/{key.replace('_', '-')}": text for key, text in notes.items()}
    return objects.Pod(metadata=objects.ObjectMeta(name="web", namespace="ns", annotations=keys))


@pytest.mark.parametrize(
    ("text", "bps"),
    [
        ("10M", 10_000_000), ("1k", 1000), ("1.5G", 1_500_000_000), ("1Ki", 1024), ("64Mi", 64 * 2**20),
        ("1P", 10**15), ("1e6", 10**6), ("2E3", 2000), ("1000000m", 1000), ("+10M", 10_000_000), (".5M", 500_000),
        ("1500", 1500), ("10.M", 10_000_000),
    ],
)  # fmt: skip
def test_every_form_of_a_quantity_is_understood(text: str, bps: int) -> None:
    assert bandwidth.read(pod(egress_bandwidth=text)) == bandwidth.Limits(0, bps)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fast",
        "10 M",
        "-10M",
        "10Mbit",
        "M",
        "1e",
        "1e999",
        "0x10",
        "10m",
        "0",
        "999",
        "2P",
        "1E",
        "\u0661M",
        "9" * 99,
    ],
)
def test_what_is_no_bandwidth_is_named_with_pod_and_key(text: str) -> None:
    with pytest.raises(bandwidth.BadBandwidth, match=r"^pod ns/web: annotation kubernetes\.io/ingress-bandwidth: "):
        bandwidth.read(pod(ingress_bandwidth=text))
    assert bandwidth.problem(pod(ingress_bandwidth=text))


def test_no_annotation_is_no_limit() -> None:
    assert bandwidth.read(pod()) == bandwidth.Limits()
    assert bandwidth.problem(pod()) == ""


@given(st.text(max_size=50))
def test_no_text_breaks_the_reader(text: str) -> None:
    limits = pod(ingress_bandwidth=text, egress_bandwidth=text)
    assert bandwidth.problem(limits) or bandwidth.read(limits).ingress_bps >= bandwidth.LEAST_BPS


@given(st.integers(bandwidth.LEAST_BPS, bandwidth.MOST_BPS))
def test_what_a_pod_sends_is_policed_in_numbers_that_ovs_takes(bps: int) -> None:
    port = dpu.PodPort(
        pod=PodKey("ns", "web"), pod_uid="u", sandbox="s", representor="r", vf_netdev_name="", mac="", ip_addresses=(),
        egress_bps=bps,
    )  # fmt: skip
    (interface,) = (r for r in dpu.plan_pod(row.Uuid(""), port).rows if isinstance(r, vswitch.Interface))
    rate, burst = interface.ingress_policing_rate, interface.ingress_policing_burst
    assert isinstance(rate, int)
    assert isinstance(burst, int)
    assert 0 < rate < 2**32
    assert 12 < burst < 2**32, "OVS wants room for a frame at least, and takes 0 for 8 Mbit"
