# SPDX-License-Identifier: Apache-2.0
"""What the bench makes of samples and of agents' histograms, and how a report is spelled."""

import re

import msgspec
import prometheus_client
import pytest
from click.testing import CliRunner

from ashore.agent import agent_metrics
from ashore.bench import figures, packets
from ashore.cli import main
from ashore.lab import machine

METRICS = """\
# HELP ashore_cni_request_seconds Time to serve a CNI request
ashore_cni_request_seconds_count{code="0",command="ADD"} %d.0
ashore_cni_request_seconds_sum{code="0",command="ADD"} %g
ashore_cni_phase_seconds_bucket{command="ADD",le="0.001",phase="netns"} 0.0
ashore_cni_phase_seconds_count{command="ADD",phase="netns"} %d.0
ashore_cni_phase_seconds_sum{command="ADD",phase="netns"} %g
"""


@pytest.mark.parametrize(("percent", "expected"), [(50, 5), (90, 9), (100, 10), (0, 1)])
def test_a_percentile_is_a_sample_that_was_seen(percent: float, expected: float) -> None:
    assert figures.percentile([10, 9, 8, 7, 6, 5, 4, 3, 2, 1], percent) == expected


def test_one_sample_is_every_percentile() -> None:
    assert figures.timing([7.04]) == figures.Timing(1, 7.0, 7.0, 7.0)


def test_a_phase_that_some_lacked_is_the_median_of_the_others() -> None:
    found = figures.timing([1, 2, 3], [{"a": 1.0}, {"a": 3.0, "b": 8.0}, {"a": 2.0}])
    assert found.phases_ms == {"a": 2.0, "b": 8.0}


def test_only_what_was_observed_meanwhile_counts() -> None:
    before, after = (figures.read_spent(METRICS % values) for values in ((3, 9, 3, 6), (5, 9.3, 4, 6.05)))
    assert after.since(before) == pytest.approx({("ADD", "request"): 150, ("ADD", "netns"): 50})
    assert after.since(after) == {}


def test_the_agents_own_histograms_are_understood() -> None:
    agent_metrics.PHASE_SECONDS.labels("ADD", "wire").observe(0.25)
    spent = figures.read_spent(prometheus_client.generate_latest().decode())
    assert (spent.count["ADD", "wire"], spent.ms["ADD", "wire"]) >= (1, 250)


def test_an_add_is_split_without_a_rest_that_hides_something() -> None:
    host = {("ADD", name): ms for name, ms in (("request", 80.0), ("device", 5), ("tell", 10), ("answer", 50))}
    host |= {("ADD", "address"): 1.0, ("ADD", "netns"): 30.0}
    switch = {("ADD", "wire"): 12.0, ("ADD", "ovn"): 20.0}
    parts = figures.split_add(100, host, switch)
    assert parts == {"shim": 20, "device": 5, "api": 28, "wiring": 12, "ovn": 20, "netns": 30, "rest": 15}
    # What runs beside the conversation isn't counted twice.
    assert sum(ms for name, ms in parts.items() if name != "netns") == 100


def test_a_full_node_s_add_has_no_conversation() -> None:
    seen = {("ADD", "request"): 60.0, ("ADD", "wire"): 20.0, ("ADD", "ovn"): 15.0, ("ADD", "netns"): 10.0}
    assert figures.split_add(61, seen, seen)["api"] == 0


def test_a_report_has_the_contracts_keys() -> None:
    timing = figures.timing([1.0], [{"shim": 1.0}])
    restart = figures.Restart(timing, timing)
    one = figures.Plugging(
        node="host-1", add=timing, delete=timing, concurrent_add=timing, concurrent_del=timing, ready=timing,
        restart=restart,
    )  # fmt: skip
    report = figures.Report(
        name="x", mode="dpu-host", add=timing, delete=timing, ready=timing, concurrent_add=timing, concurrent=10,
        rss_mb={"host-1": {"ashore-agent": 50.0, "total": 50.0}}, modes={"dpu-host": one},
        traffic=(figures.Way("dpu-host, same node", "IPv4", 1.0, 1.0, 1.0, 0),),
    )  # fmt: skip
    told = msgspec.to_builtins(report)
    assert {"add", "del", "ready", "concurrent_add", "rss_mb", "modes", "mode", "traffic"} <= told.keys()
    assert told["add"] == {"n": 1, "p50_ms": 1.0, "p90_ms": 1.0, "max_ms": 1.0, "phases_ms": {"shim": 1.0}}
    assert {"del", "restart", "concurrent_del"} <= told["modes"]["dpu-host"].keys()


@pytest.mark.parametrize("number", [0, 1, 0xFFFF])
def test_an_echo_request_sums_up(number: int) -> None:
    words = memoryview(packets.echo(8, number, is_summed=True)).cast("B")
    total = sum(words[i] << 8 | words[i + 1] for i in range(0, len(words), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert total == 0xFFFF


def test_without_a_lab_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("ASHORE_LAB_HOME", str(tmp_path))
    assert str(machine.home()) == str(tmp_path)
    reply = CliRunner().invoke(main.main, ["bench", "plug", "--name", "nosuch"])
    assert reply.exit_code == 2
    assert re.search("no lab.*nosuch.*ashore lab up", reply.output)
