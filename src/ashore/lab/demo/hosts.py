# SPDX-License-Identifier: Apache-2.0
"""The proof that a host with a DPU does no networking: what runs there, what it forwards, which links it has."""

import msgspec

from ashore.lab.demo import hands

FORBIDDEN = ("ovs", "ovn", "ovsdb")
FORWARDING = ("net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding", "net.ipv6.conf.all.forwarding")


class HostProof(msgspec.Struct, frozen=True):
    """What was found on one host; ``problems`` is empty when it does no networking."""

    node: str
    processes: tuple[str, ...]
    forwarding: dict[str, str]
    rules: int
    problems: tuple[str, ...]


async def prove(lab: hands.Hands, node: str) -> HostProof:
    """Look at one host. Raises CommandFailed when it can't be looked at."""
    listing = await lab.inside(node, "sh", "-c", "cat /proc/[0-9]*/comm 2>/dev/null || true")
    processes = tuple(sorted(set(listing.split())))
    forwarding = {}
    for name in FORWARDING:
        forwarding[name] = (await lab.inside(node, "cat", "/proc/sys/" + name.replace(".", "/"))).strip()
    ruleset = await lab.inside(node, "nft", "list", "ruleset")
    rules = len([line for line in ruleset.splitlines() if line.strip()])
    problems = [f"runs {name}" for name in processes if name.startswith(FORBIDDEN)]
    problems += [f"{name} = {value}" for name, value in forwarding.items() if value != "0"]
    if rules:
        problems.append(f"{rules} lines of nftables rules")
    return HostProof(node, processes, forwarding, rules, tuple(problems))
