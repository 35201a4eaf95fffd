# SPDX-License-Identifier: Apache-2.0
import collections
import configparser
import json
import pathlib
import shlex

import msgspec
import pytest

from ashore.api import config
from ashore.lab import clusters, daemon, daemons, kubernetes, spec, supervision


class Anywhere(collections.UserDict[str, str]):
    def __missing__(self, name: str) -> str:
        return f"/tools/{name}"


def lab(shape: spec.Shape | None = None) -> spec.LabSpec:
    tools = spec.Toolpaths(Anywhere(), "/tools", ("/images/pause.tar",), {})
    return spec.LabSpec("t", "uuid", shape or spec.Shape(), {"host": 1, "nic": 2}, tools)


def names(node: str, shape: spec.Shape | None = None) -> set[str]:
    made = lab(shape)
    place = next(place for place in spec.nodes(made.shape) if place.name == node)
    return {found.name for found in daemons.plan(made, place)}


SWITCH = {"ovsdb-server", "ovs-vswitchd", "os-network", "ovn-controller"}
NODE = {"containerd", "images", "kubelet"}


def test_a_host_with_a_dpu_runs_nothing_of_ovs_or_ovn() -> None:
    assert names("host-1") == NODE | {"ashore-agent"}


def test_a_dpu_runs_three_small_things() -> None:
    assert names("dpu-1") == SWITCH | {"ashore-agent"}


def test_a_full_node_runs_both_halves() -> None:
    assert names("full-1") == SWITCH | NODE | {"ashore-agent"}


def test_a_lab_without_agents_has_no_process_of_ours() -> None:
    bare = spec.Shape(agents=False)
    assert not any(
        name.startswith("ashore") for place in ("cp", "host-1", "dpu-1", "full-1") for name in names(place, bare)
    )


def test_databases_are_not_told_to_listen_without_tls() -> None:
    words = [word for found in daemons.plan(lab(), spec.CP) for word in found.command]
    remotes = [word for word in words if word.startswith("--remote=")]
    assert remotes
    assert not any("tcp" in word for word in remotes)


def test_each_family_has_its_ranges_primary_first() -> None:
    assert kubernetes.service_cidrs((6, 4)) == "fd00:10:96::/112,10.96.0.0/16"
    advertised = [
        word
        for found in daemons.plan(lab(spec.Shape(families=(6,))), spec.CP)
        for word in found.command
        if word.startswith("--advertise-address")
    ]
    assert advertised == ["--advertise-address=fd00:30::2"]


def test_the_network_config_is_one_that_ashore_accepts() -> None:
    made = json.loads(json.dumps(clusters.network_config(spec.Shape())))
    assert config.parse(msgspec.convert(made["spec"], config.NetworkConfigSpec)).families == (4, 6)


def test_a_supervisor_runs_exactly_the_command_that_was_planned() -> None:
    command = ("/bin/x", "--a=b c", "100%", "it's", 'say "hi"', "semi;colon")
    program = supervision.Program("x", command, pathlib.Path("/log/x.log"), {"PATH": "/a:/b"})
    text = supervision.config("/run/s.sock", pathlib.Path("/log/own.log"), [program], pidfile="/run/s.pid")
    parsed = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=(" ;",))
    parsed.read_string(text)
    section = parsed["program:x"]
    assert tuple(shlex.split(section["command"].replace("%%", "%"))) == command
    assert section["environment"] == 'PATH="/a:/b"'
    assert section["autorestart"] == "true"


def test_a_gated_daemon_waits_for_its_sockets() -> None:
    gated = daemon.Daemon("d", ("/bin/d", "-v"), after=("/run/a.sock", "/run/b.sock"))
    words = supervision.of_daemon(gated, pathlib.Path("/log")).command
    assert words[-3:] == ("--", "/bin/d", "-v")
    assert words[3:7] == ("--for", "/run/a.sock", "--for", "/run/b.sock")


@pytest.mark.parametrize("state", ["BACKOFF", "FATAL"])
def test_a_program_that_dies_at_each_start_is_called_a_crash_loop(state: str) -> None:
    assert supervision.State("d", 0, state, "").is_crash_looping
