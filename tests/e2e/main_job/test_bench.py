# SPDX-License-Identifier: Apache-2.0
"""The bench measures a running lab, in each of its modes; its figures are nobody's claim."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(600)
TIMING = {"n", "p50_ms", "p90_ms", "max_ms", "phases_ms"}


def test_a_bench_of_a_lab_has_every_figure_and_leaves_nothing(lab: Any) -> None:
    program = Path(sys.executable).parent / "ashore"
    words = ["bench", "plug", "--name", lab.name, "-n", "2", "--concurrent", "2", "--seconds", "0.2", "-o", "json"]
    reply = subprocess.run([program, *words], capture_output=True, text=True, check=False, timeout=500)
    assert reply.returncode == 0, reply.stderr
    report = json.loads(reply.stdout)
    for what in ("add", "del", "ready", "concurrent_add"):
        assert report[what].keys() == TIMING
    assert report["add"]["n"] == report["del"]["n"] == report["ready"]["n"] == 2
    assert {"shim", "api", "wiring", "ovn", "netns"} <= report["add"]["phases_ms"].keys()
    assert report["modes"].keys() == {"dpu-host", "full"}
    assert report["rss_mb"]["host-1"].keys() == {"ashore-agent", "total"}
    assert all(way["mbit_per_s"] > 0 for way in report["traffic"])
    assert lab.get("pod", "-n", "ashore-bench")["items"] == []
    assert lab.inside("host-1", "ls", "/run/ashore/vfs", "/run/netns").count("bench-") == 0
