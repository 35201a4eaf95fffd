# SPDX-License-Identifier: Apache-2.0
"""What a process says about itself over HTTP: ``/metrics``, ``/healthz`` and ``/readyz``."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

import msgspec
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest


class Health:
    """Named checks; each gives None when well and a reason when not."""

    def __init__(self) -> None:
        self._checks: dict[str, Callable[[], str | None]] = {}

    def add(self, name: str, check: Callable[[], str | None]) -> None:
        """Ask ``check`` whenever somebody asks for the process' health."""
        self._checks[name] = check

    def problems(self) -> dict[str, str]:
        """Reason by check, of those that aren't well."""
        found = {name: check() for name, check in self._checks.items()}
        return {name: reason for name, reason in found.items() if reason is not None}


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the library's name)
        del format, args


@contextmanager
def serve_metrics(address: str, health: Health, *, registry: CollectorRegistry = REGISTRY) -> Iterator[int]:
    """Serve on ``host:port`` from a thread while the context lasts; gives the port (for port 0).

    ``/healthz`` and ``/readyz`` answer 200, or 503 with the problems as JSON. Nothing is served for an empty address.
    """
    if not address:
        yield 0
        return

    def app(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        if path == "/metrics":
            start("200 OK", [("Content-Type", CONTENT_TYPE_LATEST)])
            return [generate_latest(registry)]
        if path in ("/healthz", "/readyz"):
            problems = health.problems()
            start("503 Service Unavailable" if problems else "200 OK", [("Content-Type", "application/json")])
            return [msgspec.json.encode(problems)]
        start("404 Not Found", [("Content-Type", "text/plain")])
        return [b"/metrics, /healthz, /readyz\n"]

    host, _, port = address.rpartition(":")
    server = make_server(host.strip("[]"), int(port), app, handler_class=_Quiet)
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
