# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys
from pathlib import Path

import pytest

from ashore.agent import settings

GOOD = ("--mode", "dpu-host", "--node-name", "host-1")


def test_good_flags_are_taken() -> None:
    given = settings.parse([*GOOD, "--api-server", "https://a:6443,https://b:6443"])
    assert given.api_servers == ("https://a:6443", "https://b:6443")
    assert given.kubeconfig == Path("/etc/ashore/credentials/kubeconfig")


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [("", (), (0, 5)), ("3", (3,), (2, 4)), ("8-10,2", (2, 8, 10), (3, 7, 11)), ("all", (0, 1, 4000), ())],
)
def test_a_device_plugins_vfs_are_numbers_and_ranges(
    text: str, inside: tuple[int, ...], outside: tuple[int, ...]
) -> None:
    given = settings.parse([*GOOD, "--device-plugin-vfs", text]).device_plugin_vfs
    assert all(any(number in each for each in given) for number in inside)
    assert not any(number in each for each in given for number in outside)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ((), "--mode is ''; give one of dpu-host, dpu, full"),
        (("--mode", "dpuhost"), "--mode is 'dpuhost'"),
        (("--mode", "dpu", "--node-name", "host-1"), "a DPU learns its host from Open_vSwitch"),
        (("--mode", "full"), "--node-name is missing"),
        ((*GOOD, "--sys-root", "/nowhere"), "--sys-root /nowhere isn't a folder"),
        ((*GOOD, "--device-plugin-vfs", "8-3"), "--device-plugin-vfs: '8-3' isn't a VF number"),
        ((*GOOD, "--device-plugin-vfs", "1,x"), "--device-plugin-vfs: 'x' isn't a VF number"),
        ((*GOOD, "--metrics", "here"), "isn't HOST:PORT"),
        ((*GOOD, "--api-server", "a:6443"), "isn't a URL"),
    ],
)
def test_flags_that_can_not_be_meant_are_named_with_their_remedy(flags: tuple[str, ...], says: str) -> None:
    with pytest.raises(settings.Wrong, match=".*" + says.replace("(", r"\(")):
        settings.parse(flags)


def test_a_wrong_mode_ends_the_program_with_one_line() -> None:
    command = [sys.executable, "-m", "ashore.agent.main", "--mode", "nic"]
    reply = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert reply.returncode == 2
    assert reply.stderr.splitlines() == ["ashore-agent: --mode is 'nic'; give one of dpu-host, dpu, full"]


def test_an_agent_carries_nothing_that_only_people_s_door_needs() -> None:
    code = (
        "import sys; from ashore.agent import main; sys.argv = ['ashore-agent', '--mode', 'nic']\n"
        "try: main.main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'rich.console', 'cryptography'} & set(sys.modules)), 'ashore.agent.modes' in sys.modules)"
    )
    reply = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert reply.stdout.strip() == "[] True"
