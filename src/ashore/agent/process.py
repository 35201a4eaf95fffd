# SPDX-License-Identifier: Apache-2.0
"""``ashore-agent``: serves one node in one mode until it is told to stop; the data path stays when it goes."""

import asyncio
import sys

import structlog

from ashore import kube, runtime
from ashore.agent import modes, settings

log = structlog.get_logger(__name__)
HOPELESS = 2


def main() -> None:
    """Run; exit status 2 for flags that can't be meant. What can heal (files, NIC, API) is waited for."""
    try:
        given = settings.parse(sys.argv[1:])
    except settings.Wrong as error:
        sys.stderr.write(f"ashore-agent: {error}\n")
        sys.exit(HOPELESS)
    runtime.set_up_logging(level=given.log_level)
    asyncio.run(_serve(given))


async def _serve(given: settings.Settings) -> None:
    stop = asyncio.Event()
    health = runtime.Health()
    with runtime.stop_signals(stop), runtime.serve_metrics(given.metrics, health):
        log.info("agent-started", mode=given.mode, node=given.node, credentials=str(given.credentials))
        if not given.kubeconfig.is_file():
            log.warning("kubeconfig-missing", path=str(given.kubeconfig), remedy="put it there; it is looked for again")
        async with kube.Client.from_kubeconfig(given.kubeconfig, servers=given.api_servers) as api:
            tasks = await modes.TABLE[given.mode].compose(
                given, api, lambda name, problem: health.add(name, lambda: problem() or None)
            )
            await runtime.run_all(*tasks, stop=stop)
    log.info("agent-stopped")
