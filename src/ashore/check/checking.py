# SPDX-License-Identifier: Apache-2.0
"""A check from beginning to end: make clients, servers and services, ask everything, leave nothing."""

import json
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from ashore.check import ask, known, matrix, special, verdict, world

READY_S = 120


class Report(msgspec.Struct, frozen=True):
    """What was found. ``passed`` + ``failed`` + ``known`` are all cases."""

    passed: int
    failed: int
    known: int
    cases: tuple[verdict.Case, ...]
    seconds: float


class Wish(msgspec.Struct, frozen=True):
    """What to check.

    ``only``: words that a case's fields must contain, all of them; ``external_ips``: addresses to give to services,
    which the network routes to nodes; ``short``: one node of a mode, no special cases.
    """

    image: str
    only: tuple[str, ...] = ()
    external_ips: tuple[str, ...] = ()
    short: bool = False

    @property
    def is_of_the_matrix(self) -> bool:
        """Whether a way of the matrix is named, which no special case takes."""
        return any(word in verdict.HINTS for word in self.only)


async def run(
    kubectl: Sequence[str], wish: Wish, *, outside: ask.Outside | None = None, say: Callable[[str], None] = print
) -> Report:
    """The verdict on a cluster.

    Raises:
        CommandFailed: something couldn't be asked at all; what was made is removed all the same.
    """
    began = time.monotonic()
    cluster = ask.Cluster(tuple(kubectl), f"ashore-check-{secrets.token_hex(3)}", outside)
    nodes = world.nodes(await _get(cluster, "nodes"), await _get(cluster, "leases", "-n", "ovn-kubernetes"))
    places = _places(nodes, wish)
    if not places:
        raise ask.CommandFailed("no node is Ready and takes pods; see `kubectl get nodes`")
    try:
        cases = await _played(cluster, wish, places, say)
    finally:
        # Whatever the check made is in its own namespace.
        arguments = ("delete", "namespace", cluster.namespace, "--ignore-not-found", "--wait=true", "--timeout=60s")
        await cluster.run(*arguments, timeout_s=70)
    marked = tuple(known.mark(case) for case in cases)
    counts = [sum(each.ok for each in marked), sum(each.known for each in marked)]
    return Report(counts[0], len(marked) - sum(counts), counts[1], marked, round(time.monotonic() - began, 1))


def _places(nodes: Iterable[world.Node], wish: Wish) -> tuple[world.Node, ...]:
    chosen = world.choose(nodes)
    if not wish.short:
        return chosen
    return tuple({node.mode: node for node in reversed(chosen)}.values())


async def _played(
    cluster: ask.Cluster, wish: Wish, places: tuple[world.Node, ...], say: Callable[[str], None]
) -> tuple[verdict.Case, ...]:
    planned = world.actors(places)
    pods = tuple(actor for actor in planned if actor.kind == world.PODS)
    outside = world.Actor(world.EXTERNAL, ips=cluster.outside.ips) if cluster.outside else None
    stage = special.Stage(pods, places, outside)
    say(f"check: {len(planned)} pods on {', '.join(node.name for node in places)}, in namespace {cluster.namespace}")
    await _make(cluster, wish, planned, stage)
    running = await _running(cluster, planned)
    services = {found.actor: found for found in map(world.read_service, (await _get(cluster, "services", mine=True)))}
    clients = (*running, *((outside,) if outside else ()))
    wanted = [each for each in matrix.questions(clients, running, services, places) if _is_wanted(each, wish)]
    say(f"check: {len(wanted)} questions from {len(clients)} clients")
    cases = await ask.ask_all(cluster, wanted)
    if wish.short or wish.is_of_the_matrix:
        return cases
    stage = special.Stage(tuple(actor for actor in running if actor.kind == world.PODS), places, outside)
    more = await special.run(cluster, stage, services)
    return cases + tuple(case for case in more if _fits((case.client, case.via, case.protocol, case.family), wish))


async def _make(cluster: ask.Cluster, wish: Wish, actors: Sequence[world.Actor], stage: special.Stage) -> None:
    name = cluster.namespace
    made = world.Made(name, wish.image)
    labels = {"pod-security.kubernetes.io/enforce": "privileged"}
    items: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    ]
    items += [world.pod(actor, made) for actor in actors]
    external = _shares(wish.external_ips, len(actors))
    items += [world.actor_service(actor, name, external[index]) for index, actor in enumerate(actors)]
    if not wish.short:
        items += special.pods(stage, made) + special.services(stage, name)
    listing = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    await cluster.run("apply", "-f", "-", stdin=listing)
    ready = ("wait", "--for=condition=Ready", "-n", name, "pod", "--all", f"--timeout={READY_S}s")
    await cluster.run(*ready, timeout_s=READY_S + 10)


def _shares(ips: Sequence[str], number: int) -> list[list[str]]:
    """The addresses dealt out, one of each family to everyone as far as they go."""
    dealt: list[list[str]] = [[] for _ in range(number)]
    for family in ("IPv4", "IPv6"):
        for mine, ip in zip(dealt, (each for each in ips if world.family(each) == family), strict=False):
            mine.append(ip)
    return dealt


async def _running(cluster: ask.Cluster, planned: Sequence[world.Actor]) -> tuple[world.Actor, ...]:
    found = {
        item["metadata"]["name"]: tuple(each["ip"] for each in item["status"].get("podIPs", ()))
        for item in await _get(cluster, "pods", mine=True)
    }
    return tuple(msgspec.structs.replace(actor, ips=found[actor.name]) for actor in planned)


async def _get(cluster: ask.Cluster, what: str, *options: str, mine: bool = False) -> Any:
    where = ("-n", cluster.namespace) if mine else options
    found = json.loads(await cluster.run("get", what, *where, "-o", "json"))
    return found["items"] if mine else found


def _is_wanted(question: verdict.Question, wish: Wish) -> bool:
    return _fits(
        (question.client.title, question.server, question.via, question.placement, question.protocol,
         world.family(question.ip)),
        wish,
    )  # fmt: skip


def _fits(fields: Iterable[str], wish: Wish) -> bool:
    text = " ".join(fields).lower()
    return all(word.lower() in text for word in wish.only)
