# SPDX-License-Identifier: Apache-2.0
"""The agent's flags: what is needed to reach the API and the node's own parts; all else is in the NetworkConfig."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

MOST_VFS = 65536
MODES = ("dpu-host", "dpu", "full")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The agent's settings. ``node`` is empty on a DPU, which learns its host from OVS."""

    mode: str
    node: str
    credentials: Path
    api_servers: tuple[str, ...]
    state_dir: Path
    sys_root: Path
    cni_bin_dir: Path
    cni_conf_dir: Path
    ovs_run_dir: Path
    pf: str
    device_plugin_vfs: tuple[range, ...]
    metrics: str
    log_level: str

    @property
    def kubeconfig(self) -> Path:
        """How the host cluster's API is reached."""
        return self.credentials / "kubeconfig"


class Wrong(ValueError):  # noqa: N818 (a finding about flags)
    """The flags can't be meant; the text says which and what to give."""


def parse(arguments: Sequence[str]) -> Settings:
    """The settings that a command line means. Raises Wrong; SystemExit for flags that aren't flags, and ``--help``."""
    parser = argparse.ArgumentParser("ashore-agent", description="Serves one node's part of the network.")
    parser.add_argument("--mode", default="", help="dpu-host, dpu or full")
    parser.add_argument("--node-name", default="", help="this host's Node (not in mode dpu)")
    parser.add_argument("--credentials", type=Path, default=Path("/etc/ashore/credentials"))
    parser.add_argument("--api-server", default="", help="URLs, tried in turn; default: the kubeconfig's")
    parser.add_argument("--state-dir", type=Path, default=Path("/run/ashore"))
    parser.add_argument("--sys-root", type=Path, default=Path("/sys"))
    parser.add_argument("--cni-bin-dir", type=Path, default=Path("/opt/cni/bin"))
    parser.add_argument("--cni-conf-dir", type=Path, default=Path("/etc/cni/net.d"))
    parser.add_argument("--ovs-run-dir", type=Path, default=Path("/run/openvswitch"))
    parser.add_argument("--pf", default="", help="PCI address of the PF, where the default route doesn't tell it")
    parser.add_argument(
        "--device-plugin-vfs", default="", help="VF numbers that a device plugin hands out, such as 8-15,17, or all"
    )
    parser.add_argument("--metrics", default="", help="HOST:PORT; default: not served")
    parser.add_argument("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    given = parser.parse_args(arguments)
    _check(given)
    return Settings(
        mode=given.mode, node=given.node_name, credentials=given.credentials,
        api_servers=tuple(url for url in given.api_server.split(",") if url),
        state_dir=given.state_dir, sys_root=given.sys_root, cni_bin_dir=given.cni_bin_dir,
        cni_conf_dir=given.cni_conf_dir, ovs_run_dir=given.ovs_run_dir, pf=given.pf, metrics=given.metrics,
        device_plugin_vfs=_vf_numbers(given.device_plugin_vfs),
        log_level=given.log_level,
    )  # fmt: skip


def _vf_numbers(text: str) -> tuple[range, ...]:
    if text == "all":
        return (range(MOST_VFS),)
    found = []
    for part in filter(None, text.split(",")):
        match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", part, re.ASCII)
        if match is None or int(match[1]) > int(match[2] or match[1]):
            raise Wrong(f"--device-plugin-vfs: {part!r} isn't a VF number or a range such as 8-15; or give all")
        found.append(range(int(match[1]), int(match[2] or match[1]) + 1))
    return tuple(found)


def _check(given: argparse.Namespace) -> None:
    if given.mode not in MODES:
        raise Wrong(f"--mode is {given.mode!r}; give one of {', '.join(MODES)}")
    if given.mode == "dpu" and given.node_name:
        raise Wrong("--node-name is given in mode dpu; a DPU learns its host from Open_vSwitch, leave it out")
    if given.mode != "dpu" and not given.node_name:
        raise Wrong(f"--node-name is missing; mode {given.mode} needs the name of this host's Node")
    if not given.sys_root.is_dir():
        raise Wrong(f"--sys-root {given.sys_root} isn't a folder; leave it out for the kernel's /sys")
    if given.metrics and not given.metrics.rpartition(":")[2].isdigit():
        raise Wrong(f"--metrics {given.metrics!r} isn't HOST:PORT")
    for url in filter(None, given.api_server.split(",")):
        if not url.startswith(("https://", "http://")):
            raise Wrong(f"--api-server {url!r} isn't a URL such as https://192.0.2.1:6443")
