# SPDX-License-Identifier: Apache-2.0
"""Who we are to an API server: kubeconfigs with certificate files or data, tokens, token files, exec plugins."""

import asyncio
import base64
import binascii
import contextlib
import datetime as dt
import json
import os
import pathlib
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
import yaml

EXEC_API = "client.authentication.k8s.io/v1"
_EXEC_TIMEOUT_S = 30
_RENEW_EARLY_S = 30
"""How long before an exec plugin's credential runs out a new one is asked for."""


class Unusable(Exception):  # noqa: N818 (a finding about a file)
    """Credentials can't be used; the text names the file and the entry."""


@dataclass(frozen=True)
class Identity:
    """What a connection needs: where to, whom to trust, what to show."""

    server: str
    tls: ssl.SSLContext | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    tls_server_name: str | None = None


class Login(Protocol):
    """A source of identities that may change while we run."""

    def has_changed(self) -> bool:
        """Whether the last loaded identity is out of date; cheap, asked at each request."""

    async def load(self) -> Identity:
        """The identity of now.

        Raises:
            Unusable: for example in the middle of a rotation, when key and certificate don't match.
        """


class Unauthenticated:
    """A server that wants no credentials: a fake."""

    def __init__(self, server: str) -> None:
        self._identity = Identity(server)

    def has_changed(self) -> bool:
        """Never."""
        return False

    async def load(self) -> Identity:
        """Always the same."""
        return self._identity


class _Cluster(msgspec.Struct, frozen=True, rename="kebab"):
    server: str
    certificate_authority: str = ""
    certificate_authority_data: str = ""
    tls_server_name: str | None = None


class _EnvVar(msgspec.Struct, frozen=True):
    name: str
    value: str


class _Exec(msgspec.Struct, frozen=True, rename="camel"):
    command: str
    api_version: str
    args: tuple[str, ...] | None = None
    env: tuple[_EnvVar, ...] | None = None


class _User(msgspec.Struct, frozen=True, rename="kebab"):
    client_certificate: str = ""
    client_certificate_data: str = ""
    client_key: str = ""
    client_key_data: str = ""
    token: str = ""
    token_file: str = msgspec.field(name="tokenFile", default="")
    exec: _Exec | None = None


class _Context(msgspec.Struct, frozen=True):
    cluster: str
    user: str


class _Named(msgspec.Struct, frozen=True):
    name: str
    cluster: _Cluster | None = None
    user: _User | None = None
    context: _Context | None = None


class _File(msgspec.Struct, frozen=True, rename="kebab"):
    current_context: str
    clusters: tuple[_Named, ...]
    users: tuple[_Named, ...]
    contexts: tuple[_Named, ...]


class _ExecStatus(msgspec.Struct, frozen=True, rename="camel"):
    token: str = ""
    client_certificate_data: str = ""
    client_key_data: str = ""
    expiration_timestamp: dt.datetime | None = None


class _ExecCredential(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str
    status: _ExecStatus


class Kubeconfig:
    """The current context of a kubeconfig file; relative paths in it start at the file's directory."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._stamp: tuple[object, ...] = ()
        self._files: tuple[pathlib.Path, ...] = (path,)
        self._expires: dt.datetime | None = None

    def has_changed(self) -> bool:
        """Whether a file was replaced, or an exec plugin's credential is about to run out."""
        if self._expires and dt.datetime.now(dt.UTC) > self._expires - dt.timedelta(seconds=_RENEW_EARLY_S):
            return True
        return _stamp(self._files) != self._stamp

    async def load(self) -> Identity:
        """Reads everything again; the old state stays when it can't be used."""
        cluster, user = self._read()
        names = (cluster.certificate_authority, user.client_certificate, user.client_key, user.token_file)
        files = (self._path, *(self._path.parent / name for name in names if name))
        # Taken before the contents are read: a change in between then shows as one at the next request.
        stamp = _stamp(files)
        expires = None
        if user.exec:
            status = await _run_plugin(user.exec, self._path)
            expires = status.expiration_timestamp
            user = msgspec.structs.replace(
                user,
                token=status.token,
                client_certificate_data=status.client_certificate_data,
                client_key_data=status.client_key_data,
            )
        identity = self._identity(cluster, user)
        self._files, self._stamp, self._expires = files, stamp, expires
        return identity

    def _read(self) -> tuple[_Cluster, _User]:
        try:
            file = msgspec.convert(yaml.safe_load(self._path.read_bytes()), _File)
        except OSError as error:
            raise Unusable(f"kubeconfig {self._path}: {error.strerror}") from error
        except (yaml.YAMLError, msgspec.ValidationError) as error:
            raise Unusable(f"kubeconfig {self._path}: {error}") from error
        contexts = {entry.name: entry.context for entry in file.contexts}
        context = contexts.get(file.current_context)
        if context is None:
            raise Unusable(f"kubeconfig {self._path}: current-context {file.current_context!r} isn't in it")
        cluster = {entry.name: entry.cluster for entry in file.clusters}.get(context.cluster)
        user = {entry.name: entry.user for entry in file.users}.get(context.user)
        if cluster is None or user is None:
            raise Unusable(f"kubeconfig {self._path}: context {file.current_context!r} lacks its cluster or user")
        return cluster, user

    def _identity(self, cluster: _Cluster, user: _User) -> Identity:
        try:
            token = user.token or (self._content(user.token_file, "").decode().strip() if user.token_file else "")
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            tls = self._context(cluster, user) if cluster.server.startswith("https:") else None
        except OSError as error:  # ssl.SSLError is one
            raise Unusable(f"kubeconfig {self._path}: {error.filename or 'certificate or key'}: {error}") from error
        except (ValueError, binascii.Error) as error:
            raise Unusable(f"kubeconfig {self._path}: data that isn't base64 or text: {error}") from error
        return Identity(cluster.server, tls, headers, cluster.tls_server_name)

    def _context(self, cluster: _Cluster, user: _User) -> ssl.SSLContext:
        authority = self._content(cluster.certificate_authority, cluster.certificate_authority_data)
        tls = ssl.create_default_context(cadata=authority.decode() or None)
        cert = self._content(user.client_certificate, user.client_certificate_data)
        key = self._content(user.client_key, user.client_key_data)
        if cert or key:
            # OpenSSL reads a pair only from a file; in memory, inline keys never reach a disk.
            with _memory_file(cert + b"\n" + key) as path:
                tls.load_cert_chain(path)
        return tls

    def _content(self, name: str, data: str) -> bytes:
        if data:
            return base64.b64decode(data, validate=True)
        return (self._path.parent / name).read_bytes() if name else b""


@contextlib.contextmanager
def _memory_file(content: bytes) -> Iterator[str]:
    descriptor = os.memfd_create("ashore-credentials", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _stamp(files: tuple[pathlib.Path, ...]) -> tuple[object, ...]:
    found: list[object] = []
    for path in files:
        try:
            stat = path.stat()
        except OSError:
            found.append(None)
        else:
            found.append((stat.st_mtime_ns, stat.st_ino, stat.st_size))
    return tuple(found)


async def _run_plugin(plugin: _Exec, kubeconfig: pathlib.Path) -> _ExecStatus:
    """Runs a credential plugin (k8s.io/client-go credential plugins, v1); it may not ask questions."""
    what = f"kubeconfig {kubeconfig}: exec plugin {plugin.command}"
    if plugin.api_version != EXEC_API:
        raise Unusable(f"{what}: apiVersion is {plugin.api_version!r}, only {EXEC_API} is supported")
    info = {"apiVersion": EXEC_API, "kind": "ExecCredential", "spec": {"interactive": False}}
    env = {**os.environ, **{e.name: e.value for e in plugin.env or ()}, "KUBERNETES_EXEC_INFO": json.dumps(info)}
    # As client-go does: a command with a slash is relative to the kubeconfig, any other is looked up in PATH.
    command = str(kubeconfig.parent / plugin.command) if "/" in plugin.command else plugin.command
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            command, *(plugin.args or ()), stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=env
        )
    except OSError as error:
        raise Unusable(f"{what}: {error}") from error
    try:
        async with asyncio.timeout(_EXEC_TIMEOUT_S):
            out, err = await process.communicate()
    except TimeoutError as error:
        raise Unusable(f"{what}: no answer in {_EXEC_TIMEOUT_S} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise Unusable(f"{what}: exit status {process.returncode}: {err.decode(errors='replace').strip()[:300]}")
    try:
        credential = msgspec.json.decode(out, type=_ExecCredential)
    except msgspec.DecodeError as error:
        raise Unusable(f"{what}: its output is no ExecCredential: {error}") from error
    status = credential.status
    return msgspec.structs.replace(
        status,
        # The plugin's PEM is plain text; a kubeconfig's is base64.
        client_certificate_data=base64.b64encode(status.client_certificate_data.encode()).decode(),
        client_key_data=base64.b64encode(status.client_key_data.encode()).decode(),
    )
