# SPDX-License-Identifier: Apache-2.0
"""What services promise beyond an answer: whose traffic stays local, who is seen asking, who keeps answering whom.

Each promise has its opposite beside it: where the local endpoint isn't, nobody answers; without affinity several do.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ashore.check import ask, verdict, world

TIMES = 12
"""How often affinity is asked; that two servers at random answer alike so often is one in two thousand."""
_LOCAL_OUT, _LOCAL_IN, _STICKY, _LOOSE, _NOBODY, _LEAVING = (
    "etp-local", "itp-local", "affinity", "no-affinity", "no-endpoints", "removed-endpoint",
)  # fmt: skip
_APP = {"app": "ashore-check"}


class Stage(msgspec.Struct, frozen=True):
    """What the special cases are played with."""

    pods: tuple[world.Actor, ...]
    nodes: tuple[world.Node, ...]
    outside: world.Actor | None


def services(stage: Stage, namespace: str) -> list[dict[str, Any]]:
    """The services that they need."""
    first = {"ashore-check": stage.pods[0].name}

    def make(name: str, selector: Mapping[str, str], **spec: Any) -> dict[str, Any]:
        return world.service(name, namespace, selector, **spec)

    return [
        make(_LOCAL_OUT, first, type="NodePort", externalTrafficPolicy="Local"),
        make(_LOCAL_IN, first, internalTrafficPolicy="Local"),
        make(_STICKY, {**_APP, "group": "sticky"}, sessionAffinity="ClientIP"),
        make(_LOOSE, {**_APP, "group": "sticky"}),
        make(_NOBODY, {"ashore-check": "nobody"}),
        make(_LEAVING, {"ashore-check": _LEAVING}),
    ]


def pods(stage: Stage, made: world.Made) -> list[dict[str, Any]]:
    """The servers that they need beside the actors: three to choose from, one to lose."""
    node = stage.pods[0].node
    last = stage.pods[-1].node
    found = [
        world.server(f"sticky-{index}", made, node=(node, last)[index % 2], labels={"group": "sticky"})
        for index in range(3)
    ]
    return [*found, world.server(_LEAVING, made, node=last, labels={"ashore-check": _LEAVING})]


async def run(cluster: ask.Cluster, stage: Stage, made: Mapping[str, world.Service]) -> tuple[verdict.Case, ...]:
    """All special cases."""
    cases = await ask.ask_all(cluster, (*_local(stage, made), *_leaving(stage, made, is_there=True)))
    cases += await ask.ask_all(cluster, _nobody(stage, made), tries=1)
    cases += await _affinity(cluster, stage, made)
    await cluster.run("delete", "pod", "-n", cluster.namespace, _LEAVING, "--wait=true")
    return cases + await ask.ask_all(cluster, _leaving(stage, made, is_there=False))


def _question(
    client: world.Actor, service: world.Service, where: tuple[str, str, int], *expect: str, **more: Any
) -> verdict.Question:
    protocol, ip, port = where
    return verdict.Question(
        client=client, server=f"service {service.actor}", via=service.actor, placement=more.pop("placement", ""),
        protocol=protocol, ip=ip, port=port, expect=expect, **more,
    )  # fmt: skip


def _targets(service: world.Service) -> list[tuple[str, str, int]]:
    return [(protocol, ip, 80) for ip in service.vips["cluster-ip"] for protocol in ("tcp", "udp")]


def _local(stage: Stage, made: Mapping[str, world.Service]) -> list[verdict.Question]:
    """The server is a pod on the first node: its own node's clients reach it, seen as they are; others don't."""
    first = stage.pods[0]
    elsewhere = next((pod for pod in stage.pods if pod.node != first.node), None)
    inside = made[_LOCAL_IN]
    found = []
    for target in _targets(inside):
        found.append(_question(first, inside, target, first.name, placement="same node"))
        if elsewhere:
            found.append(_question(elsewhere, inside, target, placement="other node"))
    if stage.outside is None:
        return found
    out = made[_LOCAL_OUT]
    families = {world.family(ip) for ip in out.vips["cluster-ip"]}
    for node in stage.nodes:
        for ip in (each for each in node.ips if world.family(each) in families):
            seen = tuple(each for each in stage.outside.ips if world.family(each) == world.family(ip))
            expect = (first.name,) if node.name == first.node else ()
            found += [
                _question(stage.outside, out, (protocol, ip, port), *expect, sources=seen, placement=node.name)
                for protocol, port in out.node_ports.items()
            ]
    return found


def _nobody(stage: Stage, made: Mapping[str, world.Service]) -> list[verdict.Question]:
    return [
        _question(client, made[_NOBODY], target, refused=True)
        for client in stage.pods
        for target in _targets(made[_NOBODY])
    ]


def _leaving(stage: Stage, made: Mapping[str, world.Service], *, is_there: bool) -> list[verdict.Question]:
    words = "while it is there" if is_there else "after it went"
    expect = (_LEAVING,) if is_there else ()
    return [
        _question(client, made[_LEAVING], target, *expect, placement=words, refused=not is_there)
        for client in stage.pods
        for target in _targets(made[_LEAVING])
    ]


async def _affinity(cluster: ask.Cluster, stage: Stage, made: Mapping[str, world.Service]) -> tuple[verdict.Case, ...]:
    cases = []
    for service, wanted in ((made[_STICKY], "one"), (made[_LOOSE], "several")):
        for client in stage.pods[:2]:
            for target in _targets(service):
                question = _question(client, service, target, *(f"sticky-{index}" for index in range(3)))
                answers = await cluster.ask(client, [question] * TIMES)
                cases.append(_judge_spread(question, answers, wanted))
    return tuple(cases)


def _judge_spread(question: verdict.Question, answers: Sequence[verdict.Answer | None], wanted: str) -> verdict.Case:
    each = [verdict.judge(question, answer) for answer in answers]
    failed = next((case for case in each if not case.ok), None)
    if failed is not None:
        return failed
    servers = {answer.server for answer in answers if answer}
    if (len(servers) == 1) == (wanted == "one"):
        return each[0]
    reason = f"{len(servers)} servers answered {TIMES} questions; {wanted} was expected"
    return msgspec.structs.replace(each[0], ok=False, reason=reason, hint="the service's sessionAffinity")
