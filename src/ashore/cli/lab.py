# SPDX-License-Identifier: Apache-2.0
"""``ashore lab``: the two-cluster world on this machine."""

import os
import subprocess
import sys
import time

import click

from ashore.cli import demo
from ashore.cli import output as out
from ashore.lab import daemon, errors, faults, spec, status, toolbox, world

_FAMILIES = {"ipv4": 4, "ipv6": 6}
_OF_DAEMONS = {"kill-daemon": faults.kill_daemon, "stop-daemon": faults.stop_daemon}

name_option = click.option("--name", default="ashore", show_default=True, help="Which lab.")


@click.group()
def lab() -> None:
    """Make, look at, break and remove a two-cluster world on this machine."""


@lab.command()
@name_option
@click.option("--pairs", type=click.IntRange(0, 99), default=2, show_default=True, help="Hosts with a DPU.")
@click.option("--full-nodes", type=click.IntRange(0, 99), default=1, show_default=True, help="Nodes without a DPU.")
@click.option("--vfs", type=click.IntRange(1, 126), default=16, show_default=True, help="Virtual functions per pair.")
@click.option(
    "--full-node-vfs",
    type=click.IntRange(0, 126),
    default=0,
    show_default=True,
    help="Virtual functions of a full node's own NIC, which then has an eSwitch; 0: a plain NIC and veth pods.",
)
@click.option("--ip-families", default="ipv4,ipv6", show_default=True, help="Pods' and services', primary first.")
@click.option("--agents/--no-agents", default=True, help="Whether ashore's own processes run.")
@click.option("--demo/--no-demo", "with_demo", default=True, help="Whether pods try each other at the end.")
@out.format_option
@out.guarded
def up(  # noqa: PLR0913 (each is one option of the command)
    *,
    name: str,
    pairs: int,
    full_nodes: int,
    vfs: int,
    full_node_vfs: int,
    ip_families: str,
    agents: bool,
    with_demo: bool,
    output: str,
) -> None:
    """Make a lab, or bring back what it lacks; then have pods on every kind of node try each other."""
    start = time.monotonic()
    shape = spec.Shape(pairs, full_nodes, vfs, full_node_vfs, _families(ip_families), agents)
    world.up(name, shape, toolbox.resolve, say=out.say)
    seconds_to_ready = time.monotonic() - start
    report = None
    if with_demo and agents and pairs + full_nodes:
        out.say("pods on every kind of node, scheduled and started by Kubernetes …")
        report = demo.run(name)
    _tell_up(name, seconds_to_ready, report, output)
    if report is not None and not report.passed:
        sys.exit(out.FOUND_A_PROBLEM)


def _tell_up(name: str, seconds_to_ready: float, report: demo.Report | None, output: str) -> None:
    found = status.look(name)
    answers_s = None if report is None else round(seconds_to_ready + report.seconds_to_answers, 1)
    if output == "json":
        told = {"name": name, "seconds": round(seconds_to_ready, 1), "seconds_to_answers": answers_s}
        out.as_json(told | {"pss_mb": found.pss_mb, "kubeconfigs": found.kubeconfigs, "demo": report})
        return
    if report is not None:
        demo.show(report)
    _print_memory(found)
    ready = f"all nodes Ready after {seconds_to_ready:.1f} s"
    answering = "" if answers_s is None else f", pods answering after {answers_s:.1f} s"
    click.echo(f"lab {name} is up: {ready}{answering}, {found.pss_mb['total']:.0f} MB PSS")
    suffix = "" if name == "ashore" else f" --name {name}"
    click.echo("Try next:")
    click.echo(f"  export KUBECONFIG={found.kubeconfigs['host']}; kubectl get pods -A -o wide")
    click.echo(f"  ashore lab status{suffix}; ashore lab exec{suffix} dpu-1 -- ovs-vsctl show")
    click.echo(f"  ashore lab fault{suffix} pull-plug --node dpu-1; ashore lab demo{suffix}; and --heal it")


def _print_memory(found: status.Status) -> None:
    """Memory of each process by place."""
    rows: list[tuple[str, ...]] = []
    for node in found.nodes:
        daemons = ", ".join(f"{entry.name} {entry.rss_mb:.0f}" for entry in node.daemons if entry.running)
        rows.append((node.name, node.mode, f"{node.pss_mb:.0f}", daemons))
    out.as_table(("place", "mode", "PSS MB", "daemons and their RSS in MB"), rows)


@lab.command()
@name_option
@out.format_option
@out.guarded
def down(*, name: str, output: str) -> None:
    """Remove every trace of a lab."""
    world.down(name, say=out.say)
    if output == "json":
        out.as_json({"name": name, "removed": True})


@lab.command("status")
@name_option
@out.format_option
@out.guarded
def show(*, name: str, output: str) -> None:
    """Show nodes, daemons, memory; problems first."""
    found = status.look(name)
    if output == "json":
        out.as_json(found)
    else:
        _print_status(found)
    if found.problems:
        sys.exit(1)


@lab.command()
@click.argument("cluster", type=click.Choice(["host", "nic"]))
@name_option
@out.format_option
@out.guarded
def kubeconfig(*, cluster: str, name: str, output: str) -> None:
    """Print the path of a cluster's kubeconfig."""
    folders, _lab = world.find(name)
    path = str(folders.kubeconfig(cluster))
    if output == "json":
        out.as_json({"path": path})
    else:
        click.echo(path)


@lab.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@name_option
@out.format_option
@click.argument("node")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@out.guarded
def execute(*, name: str, output: str, node: str, command: tuple[str, ...]) -> None:
    """Run a command inside a node; its exit status is this one's."""
    _folders, record = world.find(name)
    enter = ["nsenter", f"--target={status.init_pid(name, node)}", "--net", "--mount", "--uts", "--pid", "--wd=/"]
    run_dir = daemon.OVN_RUN if node == spec.CP.name else daemon.OVS_RUN
    environment = os.environ | {
        spec.MARK: record.uuid,
        "PATH": f"{record.tools.bin_dir}:{os.environ.get('PATH', os.defpath)}",
        "OVS_RUNDIR": run_dir,
        "OVN_RUNDIR": run_dir,
    }
    if output == "json":
        reply = subprocess.run([*enter, *command], env=environment, capture_output=True, text=True, check=False)
        out.as_json({"exit_status": reply.returncode, "stdout": reply.stdout, "stderr": reply.stderr})
        sys.exit(reply.returncode)
    os.execvpe(enter[0], [*enter, *command], environment)  # noqa: S606 (the user's own command)


@lab.command()
@click.argument("node")
@click.argument("program", required=False)
@name_option
@click.option("-f", "--follow", is_flag=True, help="Go on as it grows.")
@click.option("-n", "--lines", default=200, show_default=True, help="How many of the last lines.")
@out.format_option
@out.guarded
def logs(  # noqa: PLR0913 (each is one option of the command)
    *, node: str, program: str | None, name: str, follow: bool, lines: int, output: str
) -> None:
    """Show what a node's daemons wrote (PROGRAM: init, kubelet, ovs-vswitchd, …)."""
    folders, _lab = world.find(name)
    folder = folders.logs if node == "lab" else folders.node(node) / "log"
    files = [folder / f"{program}.log"] if program else sorted(folder.glob("*.log"))
    if not files or not files[0].is_file():
        known = ", ".join(sorted(path.stem for path in folder.glob("*.log"))) or "nothing"
        raise errors.NoSuchNode(f"no log of {node} {program or ''}: there is {known}")
    if output == "json":
        out.as_json(
            [{"path": str(file), "lines": file.read_text(errors="replace").splitlines()[-lines:]} for file in files]
        )
        return
    os.execvp("tail", ["tail", f"--lines={lines}", *(["-F"] if follow else []), "--", *map(str, files)])  # noqa: S606 (our own list)


@lab.command()
@click.argument("fault_name", metavar="NAME", type=click.Choice([*_OF_DAEMONS, "cut-link", "pull-plug"]))
@name_option
@click.option("--node", default="", help="Where, as `ashore lab status` names it.")
@click.option("--pair", type=int, help="The DPU of this pair, where no --node is given.")
@click.option("--daemon", "program", default="", help="For kill-daemon and stop-daemon.")
@click.option("--link", default="", help="For cut-link: the netdev as the node calls it; its main one otherwise.")
@click.option("--heal", is_flag=True, help="Put it back.")
@out.format_option
@out.guarded
def fault(  # noqa: PLR0913 (each is one option of the command)
    *,
    fault_name: str,
    name: str,
    node: str,
    pair: int | None,
    program: str,
    link: str,
    heal: bool,
    output: str,
) -> None:
    """Break something, or mend it: kill-daemon, stop-daemon, cut-link, pull-plug."""
    place = node or (f"dpu-{pair}" if pair else "")
    if not place:
        raise errors.LabError(f"fault {fault_name}: say where with --node or --pair")
    if fault_name == "pull-plug":
        done = faults.pull_plug(name, place, heal=heal)
    elif fault_name == "cut-link":
        done = faults.cut_link(name, place, link, heal=heal)
    elif not program:
        raise errors.LabError(f"fault {fault_name}: say which daemon of {place} with --daemon")
    else:
        done = _OF_DAEMONS[fault_name](name, place, program, heal=heal)
    if output == "json":
        out.as_json(done)
    else:
        click.echo(done.what)


def _families(text: str) -> tuple[int, ...]:
    words = [word.strip().lower() for word in text.split(",")]
    if any(word not in _FAMILIES for word in words) or len(set(words)) != len(words):
        raise errors.LabError(f"--ip-families {text}: use ipv4, ipv6 or both, with a comma between, the primary first")
    return tuple(_FAMILIES[word] for word in words)


def _print_status(found: status.Status) -> None:
    for problem in found.problems:
        click.echo(f"PROBLEM {problem.object} {problem.what}; {problem.remedy}")
    rows: list[tuple[str, ...]] = []
    for node in found.nodes:
        rows.append((node.name, node.mode, str(node.pid or "-"), _word(ready=node.ready), f"{node.pss_mb:.0f}"))
        rows += [
            (f"  {entry.name}", "", str(entry.pid or "-"), entry.state.lower(), f"{entry.pss_mb:.0f}")
            for entry in node.daemons
        ]
    out.as_table(("place", "mode", "pid", "state", "PSS MB"), rows)
    click.echo(f"{found.pss_mb['total']:.0f} MB PSS in all")


def _word(*, ready: bool) -> str:
    return "ready" if ready else "NOT READY"
