# SPDX-License-Identifier: Apache-2.0
"""JSON-RPC 1.0 over one stream, as OVSDB speaks it (RFC 7047, 4): framing, calls, echo both ways, probing."""

import asyncio
import re
from collections.abc import Callable
from typing import Any, cast

import msgspec

from ashore.ovsdb import errors

# Text with no brace outside a string. Possessive, so it is linear; it stops at a brace, or at the quote that opens a
# string whose end hasn't arrived yet.
_BRACELESS = re.compile(rb'[^"{}]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"{}]*+)*+', re.DOTALL)
_SPACE = re.compile(rb"[ \t\r\n]*+")
_OPEN, _QUOTE = ord("{"), ord('"')


class Framer:
    """Cuts a byte stream into JSON objects, wherever the reads cut it."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._position = self._depth = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The objects that are complete now. Raises ValueError for anything else than an object between objects."""
        self._buffer += data
        objects, start = [], 0
        while True:
            if self._depth == 0:
                self._position = cast("re.Match[bytes]", _SPACE.match(self._buffer, self._position)).end()
                if self._position < len(self._buffer) and self._buffer[self._position] != _OPEN:
                    raise ValueError(f"{bytes(self._buffer[self._position :][:40])!r} where an object should begin")
            self._position = cast("re.Match[bytes]", _BRACELESS.match(self._buffer, self._position)).end()
            if self._position == len(self._buffer) or self._buffer[self._position] == _QUOTE:
                break
            self._depth += 1 if self._buffer[self._position] == _OPEN else -1
            self._position += 1
            if self._depth == 0:
                objects.append(bytes(self._buffer[start : self._position]))
                start = self._position
        if start:
            del self._buffer[:start]
            self._position -= start
        return objects


class Message(msgspec.Struct):
    """Any of request, response and notification."""

    id: Any = None
    method: str | None = None
    params: list[Any] | None = None
    result: Any = None
    error: Any = None


_decoder = msgspec.json.Decoder(Message)
_encoder = msgspec.json.Encoder()


class Wire(asyncio.Protocol):
    """One connection. ``lost`` is done, with the reason as its exception, when the connection is.

    After one silent ``probe_s`` the peer gets an echo request; after a second one the connection is given up, which
    notices a half-open one within three times ``probe_s``.
    """

    def __init__(self, on_notify: Callable[[str, list[Any]], None], *, probe_s: float) -> None:
        loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[None] = loop.create_future()
        # A loss that nobody waits for any more is no news.
        self.lost.add_done_callback(lambda future: future.cancelled() or future.exception())
        self._on_notify = on_notify
        self._probe_s = probe_s
        self._framer = Framer()
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._next_id = 0
        self._silent_probes = 0
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asyncio's word."""
        self._transport = cast("asyncio.Transport", transport)
        self._timer = asyncio.get_running_loop().call_later(self._probe_s, self._probe)

    def data_received(self, data: bytes) -> None:
        """Asyncio's word. What a message's receiver raises is a bug and ends the session with it."""
        self._silent_probes = 0
        try:
            texts = self._framer.feed(data)
        except ValueError as error:
            self.close(ConnectionError(f"the server sent what isn't JSON-RPC: {error}"))
            return
        for text in texts:
            if self.lost.done():
                return
            try:
                message = _decoder.decode(text)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                self.close(ConnectionError(f"the server sent what isn't JSON-RPC: {error}"))
                return
            self._receive(message)

    def connection_lost(self, exc: Exception | None) -> None:
        """Asyncio's word."""
        self.close(exc or ConnectionError("the server closed the connection"))

    def close(self, reason: Exception) -> None:
        """Ends the connection at once; calls that wait for their answer end as ``Lost``."""
        if self._timer:
            self._timer.cancel()
        if not self.lost.done():
            self.lost.set_exception(reason)
        for future in self._calls.values():
            if not future.done():
                future.set_exception(errors.Lost(f"the session ended before the reply: {reason}"))
        self._calls.clear()
        if self._transport:
            self._transport.abort()

    async def call(self, method: str, *params: Any) -> Any:
        """The server's result.

        Raises:
            Lost: the connection ended first.
            Refused: the server answered with an error.
        """
        if self.lost.done() or self._transport is None:
            raise errors.NotConnected("the session has ended")
        self._next_id += 1
        key = self._next_id
        future = self._calls[key] = asyncio.get_running_loop().create_future()
        self._send({"method": method, "params": params, "id": key})
        try:
            return await future
        finally:
            self._calls.pop(key, None)

    def _receive(self, message: Message) -> None:
        if message.method == "echo":
            self._send({"result": message.params, "error": None, "id": message.id})
        elif message.method is not None:
            self._on_notify(message.method, message.params or [])
        elif type(message.id) is int and (future := self._calls.pop(message.id, None)) and not future.done():
            if message.error is None:
                future.set_result(message.result)
            else:
                future.set_exception(refusal(message.error))

    def _send(self, message: dict[str, Any]) -> None:
        if self._transport and not self._transport.is_closing():
            self._transport.write(_encoder.encode(message))

    def _probe(self) -> None:
        self._silent_probes += 1
        if self._silent_probes > 2:  # noqa: PLR2004 (one silent interval, and one more after the question)
            self.close(TimeoutError(f"nothing heard for {2 * self._probe_s:g} s and more, echo not answered"))
            return
        if self._silent_probes == 2:  # noqa: PLR2004 (a whole interval without a byte)
            self._send({"method": "echo", "params": [], "id": "echo"})
        self._timer = asyncio.get_running_loop().call_later(self._probe_s, self._probe)


def refusal(error: Any) -> errors.Refused:
    """The exception for an error as the server words it: an object with ``error`` and ``details``, or a string."""
    if isinstance(error, dict):
        return errors.Refused(str(error.get("error")), str(error.get("details", "")))
    return errors.Refused(str(error))
