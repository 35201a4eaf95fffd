# SPDX-License-Identifier: Apache-2.0
"""The demonstration's report as people read it: problems first, then the tables."""

from rich.console import Console
from rich.table import Table

from ashore.lab import demo
from ashore.lab.demo import hosts, matrix

COLUMNS = tuple((family, protocol) for family in ("IPv4", "IPv6") for protocol in matrix.PROTOCOLS)


def cell(case: matrix.Case | None) -> str:
    """Round-trip time in ms, or what went wrong."""
    if case is None:
        return "-"
    if not case.ok:
        return "FAILED"
    return f"{case.rtt_ms:.2f}" if case.refuted else f"{case.rtt_ms:.2f} NOT REFUTED"


def pair_table(report: demo.Report) -> Table:
    """One row for each ordered pair of pods."""
    table = Table(title="Round-trip times in ms; each was tried again with the server's port switched off in OVN")
    for heading in ("client", "server", "where"):
        table.add_column(heading, no_wrap=True)
    for family, protocol in COLUMNS:
        table.add_column(f"{family} {protocol}", justify="right", no_wrap=True)
    table.add_column("control", no_wrap=True)
    by_pair: dict[tuple[str, str], dict[tuple[str, str], matrix.Case]] = {}
    for case in report.cases:
        by_pair.setdefault((case.client, case.server), {})[case.family, case.protocol] = case
    for (client, server), cases in by_pair.items():
        where = next(iter(cases.values())).placement
        silent = sum(case.refuted for case in cases.values())
        table.add_row(
            client,
            server,
            where,
            *(cell(cases.get(column)) for column in COLUMNS),
            f"{silent}/{len(cases)} silent",
        )
    return table


def host_lines(proofs: tuple[hosts.HostProof, ...]) -> list[str]:
    """What each host with a DPU runs and forwards."""
    lines = []
    for proof in proofs:
        verdict = "; ".join(proof.problems) or "no OVS or OVN process, forwards nothing, no nftables rules"
        lines.append(f"{proof.node}: {verdict}")
        lines.append(f"  processes: {', '.join(proof.processes)}")
    return lines


def show(report: demo.Report, console: Console) -> None:
    """Print the report: failures, table, hosts."""
    for case in report.failed_cases:
        what = case.reason if not case.ok else "still answers with the server's port switched off"
        console.print(f"FAILED {case.client} → {case.server} ({case.placement}) {case.family} {case.protocol}: {what}")
    console.print(pair_table(report))
    for line in host_lines(report.hosts):
        console.print(line, soft_wrap=True)
    good = sum(case.ok and case.refuted for case in report.cases)
    console.print(
        f"{good} of {len(report.cases)} probes answered, and were silent with the server's port off; "
        f"pods answering {report.seconds_to_answers:.1f} s after they were asked for"
    )
