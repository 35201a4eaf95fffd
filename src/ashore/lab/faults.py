# SPDX-License-Identifier: Apache-2.0
"""Breaking a lab on purpose, and mending it again."""

import msgspec

from ashore.lab import addresses, errors, links, spec, status, supervision, world


class Done(msgspec.Struct, frozen=True):
    """What was done, as one line for people and keys for programs."""

    fault: str
    node: str
    object: str
    healed: bool
    what: str


def kill_daemon(lab: str, node: str, daemon: str, *, heal: bool = False) -> Done:
    """Kill -9 of one daemon, whose supervisor starts it again; ``heal`` starts one that was given up."""
    watch = status.supervisor_of(status.init_pid(lab, node))
    known = {state.name: state for state in watch.states()}
    if daemon not in known:
        raise errors.NoSuchNode(f"node {node} has no daemon {daemon!r}; it has {', '.join(known)}")
    if heal:
        watch.start(daemon)
        return Done("kill-daemon", node, daemon, heal, f"{node}: {daemon} runs")
    if not known[daemon].is_running:
        raise errors.LabError(f"node {node}: {daemon} doesn't run ({known[daemon].state.lower()})")
    watch.kill(daemon)
    return Done("kill-daemon", node, daemon, heal, f"{node}: {daemon} (pid {known[daemon].pid} there) got SIGKILL")


def stop_daemon(lab: str, node: str, daemon: str, *, heal: bool = False) -> Done:
    """Stops one daemon and keeps it stopped until it is healed."""
    watch = status.supervisor_of(status.init_pid(lab, node))
    known = {state.name for state in watch.states()}
    if daemon not in known:
        raise errors.NoSuchNode(f"node {node} has no daemon {daemon!r}; it has {', '.join(sorted(known))}")
    (watch.start if heal else watch.stop)(daemon)
    return Done("stop-daemon", node, daemon, heal, f"{node}: {daemon} {'runs' if heal else 'is stopped'}")


def cut_link(lab: str, node: str, link: str, *, heal: bool = False) -> Done:
    """Takes the carrier from one of a node's cables, by its other end; the node's own end stays as it set it."""
    _folders, record = world.find(lab)
    link = link or _main_link(record, node)
    found = links.find(record.shape, node, link)
    if found is None:
        ours = [end.name for cable in links.plan(record.shape) for end in (cable.near, cable.far) if end.node == node]
        raise errors.NoSuchNode(f"node {node} has no cable {link!r}; it has {', '.join(ours) or 'none'}")
    end = links.other_end(found, node)
    state = "up" if heal else "down"
    links.ip_batch(spec.netns(record.name, end.node), [f"link set {end.name} {state}"])
    return Done("cut-link", node, link, heal, f"{node}: {link} is {'connected again' if heal else 'cut'}")


def pull_plug(lab: str, node: str, *, heal: bool = False) -> Done:
    """Switches a node off at once, as a power cut does; ``heal`` switches it on again."""
    folders, record = world.find(lab)
    known = [place.name for place in spec.nodes(record.shape) if place.has_init]
    if node not in known:
        raise errors.NoSuchNode(f"lab {lab} has no node {node!r}; it has {', '.join(known)}")
    watch = world.supervisor(folders)
    try:
        (watch.start if heal else watch.stop)(node)
    except supervision.NotAnswering as error:
        raise errors.LabError(f"lab {lab}: {error}; `ashore lab up --name {lab}` brings it back") from error
    return Done("pull-plug", node, "", heal, f"{node} is {'on' if heal else 'off'}")


def _main_link(record: spec.LabSpec, node: str) -> str:
    place = next((place for place in spec.nodes(record.shape) if place.name == node), None)
    if place is None:
        raise errors.NoSuchNode(f"lab {record.name} has no node {node!r}")
    by_mode = {"dpu-host": addresses.PF, "dpu": addresses.UPLINK, "full": addresses.UPLINK}
    return by_mode.get(place.mode, addresses.ETHERNET)
