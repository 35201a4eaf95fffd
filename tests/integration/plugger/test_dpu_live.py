# SPDX-License-Identifier: Apache-2.0
"""A DPU's whole agent half in its own network namespace, with real OVN, OVS, netlink and nft."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

MACS = {"a": "0a:58:0a:f4:00:0b", "b": "0a:58:0a:f4:00:0c"}


async def test_a_dpu_sets_itself_up_and_serves_its_hosts_pods(zone: Any, tmp_path: Path) -> None:
    sys_root, credentials = tmp_path / "sys", tmp_path / "credentials"
    (credentials / "sb").mkdir(parents=True)
    (credentials / "sb/remote").write_text(f"unix:{zone.run_dir}/sb.sock\n")
    where = {}
    for name in ("p0", "pf0hpf", "pf0vf0", "pf0vf1", "pf0vf2"):
        where[name] = zone.representor(name)
        directory = sys_root / "class/net" / name
        directory.mkdir(parents=True)
        (directory / "phys_switch_id").write_text("00aa\n")
        (directory / "phys_port_name").write_text({"pf0hpf": "pf0"}.get(name, name) + "\n")
    zone.vsctl("remove", "Open_vSwitch", ".", "external_ids", "ovn-encap-ip")
    zone.vsctl("remove", "Open_vSwitch", ".", "external_ids", "ovn-remote")
    zone.vsctl("add-br", "br-ex", "--", "set", "bridge", "br-ex", "datapath_type=netdev", "fail_mode=standalone",
               "--", "add-port", "br-ex", "p0", "--", "add-port", "br-ex", "pf0hpf")  # fmt: skip
    zone.ip("addr", "add", "172.30.2.1/16", "dev", "br-ex")
    zone.nbctl("ls-add", "sw")

    found = await _live(zone, sys_root, credentials)

    assert found["error_s"] < 1
    assert "VF 9 of PF 0 has no representor on this DPU" in found["error"]
    assert found["recovered_s"] < 5
    assert found["management"] == "k8s-host-1"
    assert 'ovn-encap-ip="172.30.2.1"' in found["settings"]
    assert found["node"]["k8s.ovn.org/node-chassis-id"] == "chassis-1"
    assert found["node"]["k8s.ovn.org/node-encap-ips"] == '["172.30.2.1"]'
    assert found["node"]["k8s.ovn.org/node-primary-ifaddr"] == '{"ipv4":"172.30.1.1/16"}'
    for guarded in ("p0", "pf0hpf", "pf0vf0", "pf0vf1"):
        assert f'device "{guarded}"' in found["nft"]
    assert "inet6" not in found["link"]
    for name, representor, address in (("a", "pf0vf1", "10.244.0.11/24"), ("b", "pf0vf2", "10.244.0.12/24")):
        zone.address(where[representor], MACS[name], address)
    assert zone.pings(where["pf0vf1"], "10.244.0.12")
    assert not zone.pings(where["pf0vf1"], "10.244.0.13")


async def _live(zone: Any, sys_root: Path, credentials: Path) -> dict[str, Any]:
    tools = {str(zone.tools.path(name).parent) for name in ("ovs-vsctl", "ovn-nbctl", "nft")}
    process = await asyncio.create_subprocess_exec(
        "ip", "netns", "exec", zone.netns, sys.executable, str(Path(__file__).with_name("dpu_story.py")),
        str(zone.run_dir), str(sys_root), str(credentials),
        env={**os.environ, "PATH": ":".join([*tools, os.environ["PATH"]])},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(90):
        out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()[-3000:] + out.decode()[-3000:]
    line = next(line for line in out.decode().splitlines() if line.startswith("{"))
    answer: dict[str, Any] = json.loads(line)
    return answer
