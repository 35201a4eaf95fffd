# SPDX-License-Identifier: Apache-2.0
"""Which daemons run in which node, with which command line. Data only; paths are as a node sees them."""

from collections.abc import Mapping

from ashore.lab import addresses, daemon, kubernetes, spec


def plan(lab: spec.LabSpec, node: spec.Node) -> tuple[daemon.Daemon, ...]:
    """A node's daemons in their starting order."""
    tool = lab.tools.binaries
    if node == spec.CP:
        return kubernetes.control_plane(lab, node) + _databases(tool) + (_controllers() if lab.shape.agents else ())
    if node == spec.NIC_CP:
        return kubernetes.control_plane(lab, node)
    found: tuple[daemon.Daemon, ...] = ()
    if node.has_ovs:
        found += _switch(tool)
    if node.has_kubelet:
        found += kubernetes.node(lab, node)
    if lab.shape.agents and node.mode in ("dpu", "dpu-host", "full"):
        found += (_agent(node),)
    return found


_QUIET = ("-vconsole:info", "-vsyslog:off", "-vfile:off")
_OVN_ENVIRONMENT = {"OVS_RUNDIR": daemon.OVN_RUN, "OVN_RUNDIR": daemon.OVN_RUN}


_OVS_ENVIRONMENT = {"OVS_RUNDIR": daemon.OVS_RUN, "OVN_RUNDIR": daemon.OVS_RUN}


def _ovs_daemon(
    tool: Mapping[str, str], name: str, arguments: tuple[str, ...], after: tuple[str, ...] = ()
) -> daemon.Daemon:
    control = (f"--unixctl={daemon.OVS_RUN}/{name}.ctl", f"--pidfile={daemon.OVS_RUN}/{name}.pid")
    return daemon.Daemon(name, (tool[name], *arguments, *control, *_QUIET), after=after, environment=_OVS_ENVIRONMENT)


def _switch(tool: Mapping[str, str]) -> tuple[daemon.Daemon, ...]:
    socket = f"{daemon.OVS_RUN}/db.sock"
    credentials = f"{daemon.CREDENTIALS}/sb"
    tls = (
        f"--private-key={credentials}/key.pem",
        f"--certificate={credentials}/cert.pem",
        f"--ca-cert={credentials}/ca.pem",
    )
    return (
        _ovs_daemon(tool, "ovsdb-server", (daemon.OVS_DB, f"--remote=punix:{socket}")),
        _ovs_daemon(tool, "ovs-vswitchd", (f"unix:{socket}",), (socket,)),
        daemon.Daemon(
            "os-network",
            daemon.module("ashore.lab.osnetwork"),
            after=(socket,),
            is_oneshot=True,
            environment=_OVS_ENVIRONMENT,
        ),
        _ovs_daemon(tool, "ovn-controller", (f"unix:{socket}", *tls), (f"{daemon.DONE}/os-network",)),
    )


def _database(tool: Mapping[str, str], short: str, name: str, clients: str) -> daemon.Daemon:
    return daemon.Daemon(
        f"ovn-{short}",
        (
            tool["ovsdb-server"],
            f"/var/lib/ovn/{short}.db",
            f"--remote=punix:{daemon.OVN_RUN}/ovn{short}_db.sock",
            f"--remote=db:{name},{short.upper()}_Global,connections",
            f"--private-key={daemon.DATABASE_PKI}/server.key",
            f"--certificate={daemon.DATABASE_PKI}/server.crt",
            f"--ca-cert={daemon.DATABASE_PKI}/{clients}.crt",
            f"--unixctl={daemon.OVN_RUN}/ovn{short}_db.ctl",
            f"--pidfile={daemon.OVN_RUN}/ovn{short}_db.pid",
            *_QUIET,
        ),
        environment=_OVN_ENVIRONMENT,
    )


def _databases(tool: Mapping[str, str]) -> tuple[daemon.Daemon, ...]:
    sockets = (f"{daemon.OVN_RUN}/ovnnb_db.sock", f"{daemon.OVN_RUN}/ovnsb_db.sock")
    return (
        _database(tool, "nb", "OVN_Northbound", "nb-clients"),
        _database(tool, "sb", "OVN_Southbound", "chassis"),
        daemon.Daemon(
            "ovn-listen",
            daemon.module("ashore.lab.ovnlisten"),
            after=sockets,
            is_oneshot=True,
            environment=_OVN_ENVIRONMENT,
        ),
        daemon.Daemon(
            "ovn-northd",
            (
                tool["ovn-northd"],
                f"--ovnnb-db=unix:{sockets[0]}",
                f"--ovnsb-db=unix:{sockets[1]}",
                f"--unixctl={daemon.OVN_RUN}/ovn-northd.ctl",
                f"--pidfile={daemon.OVN_RUN}/ovn-northd.pid",
                *_QUIET,
            ),
            after=sockets,
            environment=_OVN_ENVIRONMENT,
        ),
    )


def _controllers() -> tuple[daemon.Daemon, ...]:
    common = ("--credentials", daemon.CREDENTIALS, "--api-server", addresses.api_server("host"))
    return tuple(
        daemon.Daemon(
            f"ashore-controller-{which}", (daemon.program("ashore-controller"), *common, "--identity", f"cp-{which}")
        )
        for which in ("a", "b")
    )


def _agent(node: spec.Node) -> daemon.Daemon:
    command = [daemon.program("ashore-agent"), "--mode", node.mode]
    if node.mode != "dpu":
        command += ["--node-name", node.name]
    command += ["--credentials", daemon.CREDENTIALS, "--api-server", addresses.api_server("host")]
    command += ["--sys-root", daemon.SYS_ROOT, "--metrics", "127.0.0.1:9410"]
    return daemon.Daemon("ashore-agent", tuple(command))
