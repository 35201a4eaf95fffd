# SPDX-License-Identifier: Apache-2.0
"""A process' life: logging, tasks that belong together, a clean end on SIGTERM."""

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Coroutine, Iterator
from typing import Any

import structlog


def set_up_logging(*, level: str = "INFO", as_json: bool | None = None) -> None:
    """Structured events on standard error: JSON lines, or readable text on a terminal."""
    as_json = (not sys.stderr.isatty()) if as_json is None else as_json
    renderer: Any = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info if as_json else _as_is,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _as_is(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return event


@contextlib.contextmanager
def stop_signals(stop: asyncio.Event) -> Iterator[None]:
    """SIGTERM and SIGINT set ``stop`` while the context lasts."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


class _Stopped(Exception):  # noqa: N818 (control flow inside this module)
    pass


async def run_all(*tasks: Coroutine[Any, Any, object], stop: asyncio.Event) -> None:
    """Run tasks that belong together until ``stop`` is set; the first failure cancels the others and propagates.

    A task that returns is fine; the others go on.
    """

    async def wait_for_stop() -> None:
        await stop.wait()
        raise _Stopped

    try:
        async with asyncio.TaskGroup() as group:
            for task in tasks:
                group.create_task(task)
            group.create_task(wait_for_stop())
    except* _Stopped:
        pass
