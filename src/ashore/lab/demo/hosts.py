# SPDX-License-Identifier: Apache-2.0
"""The proof that a host with a DPU does no networking: what runs there, what it forwards, which links it has."""

import msgspec

from ashore.lab.demo import hands

FORBIDDEN = ("ovs-", "ovn-", "ovsdb-")
LIST_COMMANDS = "for f in /proc/[0-9]*/cmdline; do tr '\\0' '\\t' <$f 2>/dev/null && echo; done; true"
FORWARDING = ("net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding", "net.ipv6.conf.all.forwarding")


class HostProof(msgspec.Struct, frozen=True):
    """What was found on one host; ``problems`` is empty when it does no networking."""

    node: str
    processes: tuple[str, ...]
    forwarding: dict[str, str]
    rules: int
    problems: tuple[str, ...]


def program(command: list[str]) -> str:
    """What a process is, for people: its program's name, or its script's where an interpreter runs one."""
    words = [word.rpartition("/")[2] for word in command if word and not word.startswith("-")]
    is_python = len(words) > 1 and words[0].startswith("python")
    return words[1] if is_python else words[0] if words else "?"


def is_forbidden(command: list[str]) -> bool:
    """Whether any word of a command line names a program of OVS or OVN (they may run under a loader of their own)."""
    return any(word.rpartition("/")[2].startswith(FORBIDDEN) for word in command)


async def prove(lab: hands.Hands, node: str) -> HostProof:
    """Look at one host. Raises CommandFailed when it can't be looked at."""
    commands = (await lab.inside(node, "sh", "-c", LIST_COMMANDS)).splitlines()
    processes = tuple(sorted({program(command.split("\t")) for command in commands if command.strip()}))
    forwarding = {}
    for name in FORWARDING:
        forwarding[name] = (await lab.inside(node, "cat", "/proc/sys/" + name.replace(".", "/"))).strip()
    ruleset = await lab.inside(node, "nft", "list", "ruleset")
    rules = len([line for line in ruleset.splitlines() if line.strip()])
    problems = [f"runs {command!r}" for command in commands if is_forbidden(command.split("\t"))]
    problems += [f"{name} = {value}" for name, value in forwarding.items() if value != "0"]
    if rules:
        problems.append(f"{rules} lines of nftables rules")
    return HostProof(node, processes, forwarding, rules, tuple(problems))
