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
    ("flags", "says"),
    [
        ((), "--mode is ''; give one of dpu-host, dpu, full"),
        (("--mode", "dpuhost"), "--mode is 'dpuhost'"),
        (("--mode", "dpu", "--node-name", "host-1"), "a DPU learns its host from Open_vSwitch"),
        (("--mode", "full"), "--node-name is missing"),
        ((*GOOD, "--sys-root", "/nowhere"), "--sys-root /nowhere isn't a folder"),
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
