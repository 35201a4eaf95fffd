# SPDX-License-Identifier: Apache-2.0
"""``ashore check``: whether everybody reaches everybody in a running cluster."""

import asyncio
import os
import pathlib
import shlex
import shutil
import sys
from collections import Counter

import click
import msgspec

from ashore import check
from ashore.cli import output as out
from ashore.lab import addresses, errors, machine, spec, status, world
from ashore.lab.tools import recipe_image

MOST_FAILURES_SHOWN = 40


class Place(msgspec.Struct, frozen=True):
    """A cluster to check, and how to reach it."""

    kubectl: tuple[str, ...]
    image: str
    outside: check.Outside | None = None
    external_ips: tuple[str, ...] = ()


@click.command("check")
@click.option("--lab", "lab_name", default=None, help="Check this lab's host cluster. Without it and --kubeconfig: "
              "$KUBECONFIG, else the lab named ashore if there is one.")  # fmt: skip
@click.option("--kubeconfig", default=None, type=click.Path(exists=True, dir_okay=False), help="Check this cluster.")
@click.option("--image", default=None, help="An image with /bin/probe that the nodes can pull; a lab brings its own.")
@click.option("--outside", default=None, help="A command that runs the probe at a place outside the cluster, as in "
              "'ssh box probe'.")  # fmt: skip
@click.option("--outside-ip", "outside_ips", multiple=True, help="What that place asks from; once per family.")
@click.option("--external-ip", "external_ips", multiple=True, help="An address that the network routes to a node, to "
              "give to a service.")  # fmt: skip
@click.option("--only", multiple=True, help="A word that a case must have in its client, server, way, placement, "
              "protocol or family; all of them where given several times.")  # fmt: skip
@click.option("--short", is_flag=True, help="One node of a kind, no special cases.")
@out.format_option
@out.guarded
def command(*, output: str, only: tuple[str, ...], short: bool, lab_name: str | None, **place: object) -> None:
    """Have pods, hosts and the outside try pods, hosts and services, in every way; clean up afterwards.

    Exit 0: everything answered that should, and nothing that shouldn't. 1: something didn't. 2: couldn't look.
    """
    target = _place(lab_name, place)
    wish = check.Wish(target.image, only, target.external_ips, short)
    report = run(target, wish)
    if output == "json":
        out.as_json(report)
    else:
        show(report)
    if report.failed or not report.cases:
        sys.exit(out.FOUND_A_PROBLEM)


def run(place: Place, wish: check.Wish) -> check.Report:
    """The report on a place. Raises LabError when something couldn't be asked."""
    try:
        return asyncio.run(check.run(place.kubectl, wish, outside=place.outside, say=out.say))
    except check.CommandFailed as error:
        raise errors.LabError(f"check: {error}") from error


def lab_place(name: str) -> Place:
    """A lab's host cluster with its client outside. Raises LabError."""
    folders, record = world.find(name)
    tool = record.tools.binaries
    client = spec.CLIENT
    enter = (
        "env", f"{spec.MARK}={record.uuid}", "nsenter", f"--target={status.init_pid(name, client.name)}", "--net",
        tool[recipe_image.PROGRAM],
    )  # fmt: skip
    (interface,) = addresses.interfaces(client)
    ips = tuple(text.partition("/")[0] for text in interface.addresses)
    kubectl = (tool["kubectl"], f"--kubeconfig={folders.kubeconfig('host')}")
    return Place(kubectl, recipe_image.DEMO, check.Outside(enter, ips))


def _place(lab_name: str | None, given: dict[str, object]) -> Place:
    kubeconfig = given["kubeconfig"] or os.environ.get("KUBECONFIG")
    if lab_name is None and (found := _lab_of(str(kubeconfig) if kubeconfig else None)):
        lab_name = found
    if lab_name is not None:
        return lab_place(lab_name)
    program = shutil.which("kubectl")
    if program is None:
        out.fail("kubectl isn't on PATH; install it, or name a lab with --lab")
    if not given["image"]:
        out.fail("--image is needed outside a lab: an image with /bin/probe that the nodes can pull")
    outside = None
    if given["outside"]:
        outside = check.Outside(tuple(shlex.split(str(given["outside"]))), tuple(given["outside_ips"]))  # type: ignore[arg-type]
    kubectl = (program, *((f"--kubeconfig={kubeconfig}",) if kubeconfig else ()))
    return Place(kubectl, str(given["image"]), outside, tuple(given["external_ips"]))  # type: ignore[arg-type]


def _lab_of(kubeconfig: str | None) -> str | None:
    """The lab whose host cluster that is; without one, the lab that `make lab` makes."""
    if kubeconfig is None:
        return "ashore" if "ashore" in world.names() else None
    path = pathlib.Path(kubeconfig).resolve()
    known = {spec.Folders(machine.home(), name).kubeconfig("host").resolve(): name for name in world.names()}
    return known.get(path)


def show(report: check.Report) -> None:
    """Problems first, then a line per way and placement."""
    failed = [case for case in report.cases if not case.ok and not case.known]
    if failed:
        rows: list[tuple[str, ...]] = [
            (case.client, case.server, case.via, case.target, case.reason, case.hint)
            for case in failed[:MOST_FAILURES_SHOWN]
        ]
        out.as_table(("client", "server", "way", "asked", "reason", "hint"), rows)
        if len(failed) > MOST_FAILURES_SHOWN:
            click.echo(f"… and {len(failed) - MOST_FAILURES_SHOWN} more; -o json has all")
    good: Counter[tuple[str, str]] = Counter()
    asked: Counter[tuple[str, str]] = Counter()
    for case in report.cases:
        asked[case.via, case.placement] += 1
        good[case.via, case.placement] += case.ok
    out.as_table(
        ("way", "placement", "as it should be"),
        [(via, placement, f"{good[via, placement]} of {count}") for (via, placement), count in sorted(asked.items())],
    )
    known = f", {report.known} fail for known reasons" if report.known else ""
    click.echo(
        f"{report.passed} of {len(report.cases)} as it should be, {report.failed} not{known}; {report.seconds} s"
    )
