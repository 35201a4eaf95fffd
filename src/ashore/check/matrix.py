# SPDX-License-Identifier: Apache-2.0
"""The matrix: every client, every server, every way there is. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from ashore.check import verdict, world

PROTOCOLS = ("tcp", "udp")


def questions(
    clients: Sequence[world.Actor],
    servers: Sequence[world.Actor],
    services: Mapping[str, world.Service],
    nodes: Sequence[world.Node],
) -> tuple[verdict.Question, ...]:
    """All of it, by client."""
    return tuple(
        question
        for client in clients
        for server in servers
        for question in (*_direct(client, server), *_through(client, server, services, nodes))
    )


def placement(client: world.Actor, server: world.Actor) -> str:
    """How far apart two are, in words."""
    if not client.node:
        return "outside"
    if client.node == server.node:
        return "same node"
    return "other node" if client.mode == server.mode else "other mode"


def _direct(client: world.Actor, server: world.Actor) -> Iterator[verdict.Question]:
    if client == server or (client.kind, server.kind) == (world.EXTERNAL, world.PODS):
        return  # pods' addresses mean nothing outside
    for ip in server.ips:
        for protocol in PROTOCOLS:
            yield _question(client, server, "direct", (protocol, ip, world.PORT))


def _through(
    client: world.Actor, server: world.Actor, services: Mapping[str, world.Service], nodes: Sequence[world.Node]
) -> Iterator[verdict.Question]:
    service = services.get(server.name)
    if service is None:
        return
    for via, ips in service.vips.items():
        if client.kind == world.EXTERNAL and via == "cluster-ip":
            continue
        for ip in ips:
            for protocol in PROTOCOLS:
                yield _question(client, server, via, (protocol, ip, 80))
    families = {world.family(ip) for ip in service.vips["cluster-ip"]}
    for via, node in _node_ports(client, server, nodes):
        for ip in (each for each in node.ips if world.family(each) in families):
            for protocol, port in service.node_ports.items():
                yield _question(client, server, via, (protocol, ip, port))


def _node_ports(
    client: world.Actor, server: world.Actor, nodes: Sequence[world.Node]
) -> Iterator[tuple[str, world.Node]]:
    """The node whose port is asked: the client's own (outside: the server's), and another one."""
    own = client.node or server.node
    by_name = {node.name: node for node in nodes}
    if own in by_name:
        yield "node-port-own-node", by_name[own]
    others = [node for node in nodes if node.name != own]
    if others:
        yield "node-port-other-node", others[0]


def _question(client: world.Actor, server: world.Actor, via: str, where: tuple[str, str, int]) -> verdict.Question:
    protocol, ip, port = where
    return verdict.Question(
        client=client,
        server=server.title,
        via=via,
        placement=placement(client, server),
        protocol=protocol,
        ip=ip,
        port=port,
        expect=(server.name,),
    )
