# SPDX-License-Identifier: Apache-2.0
"""``ashore-controller``: parses flags, opens the doors, runs for the lease."""

import asyncio
import contextlib
import functools
import pathlib
from collections.abc import AsyncIterator
from typing import Any

import click

from ashore import kube, ovsdb, runtime
from ashore.api import names
from ashore.controller import lease, reign, zone
from ashore.controller.settings import Settings, Unusable, check, northbound_remotes
from ashore.schema import nb


@click.command()
@click.option("--credentials", type=click.Path(path_type=pathlib.Path), required=True, help="kubeconfig and nb/ files.")
@click.option("--api-server", default="", help="URLs of the host cluster's API servers, comma-separated.")
@click.option("--identity", required=True, help="This replica's name in the lease.")
@click.option("--metrics", default="", help="HOST:PORT for metrics and health; default: not served.")
@click.option("--lease-seconds", type=click.FloatRange(min=1), default=15.0, show_default=True, help="Lease duration.")
@click.option("--log-level", default="INFO", show_default=True)
def main(  # noqa: PLR0913 (one argument a flag)
    *, credentials: pathlib.Path, api_server: str, identity: str, metrics: str, lease_seconds: float, log_level: str
) -> None:
    """Keep ids, subnets, addresses and the logical network of one host cluster."""
    runtime.set_up_logging(level=log_level)
    servers = tuple(part.strip() for part in api_server.split(",") if part.strip())
    settings = Settings(credentials, identity, servers, metrics, lease_seconds)
    try:
        check(settings)
    except Unusable as error:
        raise click.ClickException(str(error)) from error
    asyncio.run(run(settings))


async def run(settings: Settings, stop: asyncio.Event | None = None) -> None:
    """Runs until ``stop`` is set or SIGTERM comes."""
    stop = stop or asyncio.Event()
    async with open_doors(settings) as doors:
        elector = open_elector(settings)
        health = _health(doors)
        with runtime.stop_signals(stop), runtime.serve_metrics(settings.metrics, health):
            await runtime.run_all(
                *(informer.run() for informer in doors.informers),
                doors.northbound.run(),
                elector.run(functools.partial(_lead, doors)),
                stop=stop,
            )


async def _lead(doors: reign.Doors, term: runtime.Term) -> None:
    await reign.Reign(doors, term).run()


@contextlib.asynccontextmanager
async def open_doors(settings: Settings) -> AsyncIterator[reign.Doors]:
    """The doors, not running yet; closed at the end."""
    files = settings.credentials / "nb"
    async with kube.Client.from_kubeconfig(settings.kubeconfig, servers=settings.api_servers) as client:
        yield reign.Doors(
            api=client,
            nodes=kube.Informer(client, kube.NODES),
            pods=kube.Informer(client, kube.PODS),
            configs=kube.Informer(client, kube.NETWORK_CONFIGS),
            services=kube.Informer(client, kube.SERVICES),
            slices=kube.Informer(client, kube.ENDPOINT_SLICES),
            northbound=ovsdb.Client(
                remotes=northbound_remotes(settings),
                database=nb.DATABASE,
                tables=zone.TABLES,
                tls=lambda: ovsdb.context(
                    key=str(files / "key.pem"), cert=str(files / "cert.pem"), ca=str(files / "ca.pem")
                ),
            ),
        )


def open_elector(settings: Settings) -> runtime.Elector:
    """The elector for this replica; its store is opened in the elector's own thread."""

    @contextlib.asynccontextmanager
    async def open_store() -> AsyncIterator[runtime.LeaseStore]:
        async with kube.Client.from_kubeconfig(settings.kubeconfig, servers=settings.api_servers) as client:
            yield lease.KubeLease(client, names.LEASE_NAMESPACE, names.CONTROLLER_LEASE)

    timing = runtime.Timing(duration_s=settings.lease_s, renew_s=settings.lease_s / 5)
    return runtime.Elector(settings.identity, open_store, timing=timing)


def _health(doors: reign.Doors) -> runtime.Health:
    health = runtime.Health()
    for informer in doors.informers:
        health.add(informer.kind.plural, functools.partial(_informer_problem, informer))
    health.add("northbound", lambda: None if doors.northbound.connected else doors.northbound.problem)
    return health


def _informer_problem(informer: kube.Informer[Any]) -> str | None:
    return None if informer.synced.is_set() else informer.statistics.last_failure or "not loaded yet"
