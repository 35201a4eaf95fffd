# SPDX-License-Identifier: Apache-2.0
"""Streams and echo requests between pods' namespaces, by plain sockets that were opened inside them."""

import ipaddress
import itertools
import os
import socket
import struct
import threading
import time

from ashore.lab import netspace

BLOCK = bytes(1 << 18)
PATIENCE_S = 10.0
_ECHO = {4: (socket.IPPROTO_ICMP, 8, 0), 6: (58, 128, 129)}
"""By IP version: protocol, type of request and of reply (RFC 792, RFC 4443)."""


def _socket(netns: str, ip: str, kind: socket.SocketKind, protocol: int = 0) -> socket.socket:
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    return netspace.within(netns, lambda: socket.socket(family, kind, protocol))


def serve(netns: str, ip: str) -> int:
    """The port on which one stream is taken in; its sender is told ``bytes seconds`` at its end."""
    listener = _socket(netns, ip, socket.SOCK_STREAM)
    listener.bind((ip, 0))
    listener.listen(1)
    listener.settimeout(PATIENCE_S)
    threading.Thread(target=_take, args=(listener,), daemon=True).start()
    port: int = listener.getsockname()[1]
    return port


def _take(listener: socket.socket) -> None:
    buffer = bytearray(len(BLOCK))
    with listener:
        stream, _ = listener.accept()
    with stream:
        stream.settimeout(PATIENCE_S)
        total = stream.recv_into(buffer)
        began = time.perf_counter()
        while count := stream.recv_into(buffer):
            total += count
        stream.sendall(f"{total} {time.perf_counter() - began}".encode())


def stream(netns: str, ip: str, port: int, seconds: float) -> float:
    """Mbit/s of TCP payload that arrived at the other end."""
    with _socket(netns, ip, socket.SOCK_STREAM) as sender:
        sender.settimeout(PATIENCE_S)
        sender.connect((ip, port))
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            sender.sendall(BLOCK)
        sender.shutdown(socket.SHUT_WR)
        total, took_s = sender.makefile("rb").read().split()
    return int(total) * 8 / float(took_s) / 1e6


def ping(netns: str, ip: str, count: int) -> list[float]:
    """Round trips in milliseconds of echo requests, one after another; those without answer within 1 s are missing.

    The first request, which may wait for a neighbour, isn't counted.
    """
    protocol, request, reply = _ECHO[ipaddress.ip_address(ip).version]
    found = []
    with _socket(netns, ip, socket.SOCK_RAW, protocol) as door:
        door.settimeout(1)
        for number in range(count + 1):
            began = time.perf_counter()
            door.sendto(echo(request, number, is_summed=protocol == socket.IPPROTO_ICMP), (ip, 0))
            try:
                _await_reply(door, reply, number)
            except TimeoutError:
                continue
            if number:
                found.append((time.perf_counter() - began) * 1000)
    return found


def echo(kind: int, number: int, *, is_summed: bool) -> bytes:
    """An echo message with our process' number; the kernel sums up ICMPv6, not ICMP."""
    payload = bytes(56)
    identity = os.getpid() & 0xFFFF
    body = struct.pack("!BBHHH", kind, 0, 0, identity, number) + payload
    if not is_summed:
        return body
    total = sum(word for (word,) in struct.iter_unpack("!H", body))
    total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!BBHHH", kind, 0, ~(total + (total >> 16)) & 0xFFFF, identity, number) + payload


def _await_reply(door: socket.socket, reply: int, number: int) -> None:
    limit = time.monotonic() + 1
    for _ in itertools.count():
        data = door.recv(2048)
        if door.family == socket.AF_INET:
            data = data[(data[0] & 0xF) * 4 :]
        kind, _code, _sum, identity, found = struct.unpack_from("!BBHHH", data)
        if (kind, identity, found) == (reply, os.getpid() & 0xFFFF, number):
            return
        if time.monotonic() > limit:
            raise TimeoutError
