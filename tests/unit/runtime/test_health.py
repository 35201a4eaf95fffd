# SPDX-License-Identifier: Apache-2.0
import aiohttp
from prometheus_client import CollectorRegistry, Counter

from ashore import runtime


async def test_health_names_what_is_wrong_and_metrics_are_served() -> None:
    registry = CollectorRegistry()
    Counter("writes", "Writes.", registry=registry).inc(3)
    health = runtime.Health()
    reason: str | None = None
    health.add("nb", lambda: reason)
    with runtime.serve_metrics("127.0.0.1:0", health, registry=registry) as port:
        root = f"http://127.0.0.1:{port}"
        async with aiohttp.ClientSession() as session:
            async with session.get(root + "/metrics") as answer:
                assert "writes_total 3.0" in await answer.text()
            async with session.get(root + "/healthz") as answer:
                assert answer.status == 200
            reason = "not connected"
            async with session.get(root + "/readyz") as answer:
                assert answer.status == 503
                assert await answer.json() == {"nb": "not connected"}
