# SPDX-License-Identifier: Apache-2.0
"""What a pod asks for and doesn't get is refused by name, never ignored."""

from typing import Any

import msgspec
import pytest

from ashore import kube
from ashore.api import cni
from ashore.kube import objects

Host = Any
pytestmark = pytest.mark.looptime


def give_port(host: Host, field: str, host_port: int) -> None:
    key = kube.ObjectKey("default", "web")
    port = objects.ContainerPort(container_port=80, host_port=host_port)
    spec = objects.PodSpec()
    spec = msgspec.structs.replace(spec, **{field: (objects.Container(name="nginx", ports=(port,)),)})
    host.api.store[key] = msgspec.structs.replace(host.api.store[key], spec=spec)


@pytest.mark.parametrize("field", ["containers", "init_containers"])
async def test_a_host_port_is_refused_with_what_to_use_instead(host: Host, field: str) -> None:
    give_port(host, field, 8080)
    with pytest.raises(cni.Failure) as info:
        await host.do("ADD")
    assert info.value.error.code == cni.HOST_PORT
    assert info.value.error.msg == (
        "ashore: pod default/web: hostPort 8080/TCP of container nginx isn't served; "
        "use a Service of type NodePort, or hostNetwork"
    )
    assert [reason for reason, _ in host.events] == ["HostPortNotServed"]
    assert host.is_clean()


async def test_a_container_port_is_no_host_port(host: Host) -> None:
    give_port(host, "containers", 0)
    await host.do("ADD")


async def test_a_bandwidth_that_is_none_is_refused_before_anything_is_taken(host: Host) -> None:
    host.api.annotate("web", {"kubernetes.io/egress-bandwidth": "quick"})
    with pytest.raises(cni.Failure, match=r"pod default/web: annotation .*/egress-bandwidth: 'quick'") as info:
        await host.do("ADD")
    assert (info.value.error.code, host.api.patches) == (cni.BAD_BANDWIDTH, [])
    assert [reason for reason, _ in host.events] == ["BadBandwidth"]
    host.api.annotate("web", {"kubernetes.io/egress-bandwidth": "1M"})
    await host.do("ADD")
