# SPDX-License-Identifier: Apache-2.0
"""Every pod tries every other one, then tries again while the other's logical port is switched off."""

import asyncio
import ipaddress
from collections.abc import Iterable, Mapping

import msgspec

from ashore.lab.demo import hands, pods

PROTOCOLS = ("icmp", "tcp", "udp")
NB = "--db=unix:/run/ovn/ovnnb_db.sock"


class Verdict(msgspec.Struct, frozen=True):
    """One line of the probe's output."""

    target: str
    ok: bool
    rtt_ms: float = 0
    error: str = ""


class Case(msgspec.Struct, frozen=True):
    """One probe between two pods with its negative control: ``ok`` wants an answer, ``refuted`` wants none."""

    client: str
    server: str
    placement: str
    family: str
    protocol: str
    ok: bool
    rtt_ms: float
    refuted: bool
    reason: str = ""


def target(protocol: str, ip: str) -> str:
    """The probe's address of a server."""
    host = f"[{ip}]" if ":" in ip else ip
    return f"{protocol}://{host}" if protocol == "icmp" else f"{protocol}://{host}:{pods.PORT}"


def targets(server: pods.DemoPod) -> list[str]:
    """All of one server's targets."""
    return [target(protocol, ip) for ip in server.ips for protocol in PROTOCOLS]


def placement(client: pods.DemoPod, server: pods.DemoPod) -> str:
    """How far apart two pods are, in words."""
    if client.node == server.node:
        return "same node"
    return f"{client.node} → {server.node}"


async def ask(lab: hands.Hands, client: pods.DemoPod, wanted: Iterable[str], *options: str) -> dict[str, Verdict]:
    """What the probe in ``client`` says of each target."""
    out = await lab.kubectl("exec", "-n", pods.NAMESPACE, client.name, "--", "/bin/probe", "check", *options, *wanted)
    verdicts = [msgspec.json.decode(line, type=Verdict) for line in out.splitlines()]
    return {verdict.target: verdict for verdict in verdicts}


async def ask_all(lab: hands.Hands, all_pods: Iterable[pods.DemoPod]) -> dict[tuple[str, str], Verdict]:
    """The positive half: (client, target) to verdict, every pod to every other."""
    everyone = tuple(all_pods)

    async def one(client: pods.DemoPod) -> dict[tuple[str, str], Verdict]:
        wanted = [t for server in everyone if server != client for t in targets(server)]
        return {(client.name, t): v for t, v in (await ask(lab, client, wanted, "-at-once", "2")).items()}

    found: dict[tuple[str, str], Verdict] = {}
    for answers in await asyncio.gather(*(one(client) for client in everyone)):
        found |= answers
    return found


async def ask_switched_off(lab: hands.Hands, all_pods: Iterable[pods.DemoPod]) -> dict[tuple[str, str], Verdict]:
    """The negative control: the same probes while the server's logical port is disabled in OVN."""
    everyone = tuple(all_pods)
    found: dict[tuple[str, str], Verdict] = {}
    for server in everyone:
        port = f"{pods.NAMESPACE}_{server.name}"
        clients = [client for client in everyone if client != server]
        try:
            await lab.inside("cp", "ovn-nbctl", NB, "--wait=hv", "--timeout=10", "lsp-set-enabled", port, "disabled")
            options = ("-timeout", "300ms", "-tries", "1")
            answers = await asyncio.gather(*(ask(lab, client, targets(server), *options) for client in clients))
        finally:
            await lab.inside("cp", "ovn-nbctl", NB, "--timeout=10", "clear", "logical_switch_port", port, "enabled")
        for client, verdicts in zip(clients, answers, strict=True):
            found |= {(client.name, t): v for t, v in verdicts.items()}
    return found


def judge(
    all_pods: Iterable[pods.DemoPod],
    positive: Mapping[tuple[str, str], Verdict],
    negative: Mapping[tuple[str, str], Verdict],
) -> tuple[Case, ...]:
    """One case for every ordered pair, family and protocol, in a stable order."""
    everyone = tuple(all_pods)
    cases = []
    for client in everyone:
        for server in everyone:
            if client == server:
                continue
            for ip in server.ips:
                for protocol in PROTOCOLS:
                    key = (client.name, target(protocol, ip))
                    answer = positive.get(key, Verdict(key[1], ok=False, error="not asked"))
                    control = negative.get(key, Verdict(key[1], ok=True, error="not asked"))
                    cases.append(
                        Case(
                            client=client.name,
                            server=server.name,
                            placement=placement(client, server),
                            family=f"IPv{ipaddress.ip_address(ip).version}",
                            protocol=protocol,
                            ok=answer.ok,
                            rtt_ms=answer.rtt_ms,
                            refuted=not control.ok,
                            reason=answer.error,
                        )
                    )
    return tuple(cases)
