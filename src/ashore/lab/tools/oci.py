# SPDX-License-Identifier: Apache-2.0
"""OCI image archives, made without a daemon or a registry. Source: the OCI image specification 1.1."""

import dataclasses
import gzip
import hashlib
import io
import json
import pathlib
import platform
import tarfile
from collections.abc import Mapping

ARCHES = {"x86_64": "amd64", "aarch64": "arm64"}
_FOLDERS = ("bin", "dev", "etc", "proc", "root", "sys", "tmp", "var", "var/run", "www")
_ACCOUNTS = {
    "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": b"root:x:0:\nnogroup:x:65534:\n",
}


@dataclasses.dataclass(frozen=True)
class Image:
    """A one-layer image."""

    name: str
    """With its tag: `lab.local/demo:1`."""
    entrypoint: tuple[str, ...]
    programs: Mapping[str, pathlib.Path]
    """Path in the image to the file on this machine."""
    links: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Path in the image to what the link says."""


def _layer(image: Image) -> bytes:
    blob = io.BytesIO()
    with tarfile.open(fileobj=blob, mode="w", format=tarfile.USTAR_FORMAT) as layer:
        for folder in _FOLDERS:
            info = tarfile.TarInfo(folder)
            info.type, info.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            layer.addfile(info)
        files = {**_ACCOUNTS, **{path: source.read_bytes() for path, source in image.programs.items()}}
        for path, content in sorted(files.items()):
            _add(layer, path, content, mode=0o644 if path in _ACCOUNTS else 0o755)
        for path, to in sorted(image.links.items()):
            info = tarfile.TarInfo(path)
            info.type, info.linkname = tarfile.SYMTYPE, to
            layer.addfile(info)
    return blob.getvalue()


def _add(archive: tarfile.TarFile, path: str, content: bytes, *, mode: int = 0o644) -> None:
    info = tarfile.TarInfo(path)
    info.size, info.mode = len(content), mode
    archive.addfile(info, io.BytesIO(content))


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _named(kind: str, blob: bytes) -> dict[str, object]:
    return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": _digest(blob), "size": len(blob)}


def write(image: Image, path: pathlib.Path) -> None:
    """Write the archive; the same content gives the same bytes."""
    layer = _layer(image)
    packed = gzip.compress(layer, 6, mtime=0)
    config = json.dumps(
        {
            "architecture": ARCHES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
            "config": {"Env": ["PATH=/bin"], "Entrypoint": list(image.entrypoint)},
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _named("config.v1+json", config),
            "layers": [_named("layer.v1.tar+gzip", packed)],
        }
    ).encode()
    names = {"io.containerd.image.name": image.name, "org.opencontainers.image.ref.name": image.name.rpartition(":")[2]}
    index = {"schemaVersion": 2, "manifests": [{**_named("manifest.v1+json", manifest), "annotations": names}]}
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        _add(archive, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        _add(archive, "index.json", json.dumps(index).encode())
        for blob in (config, manifest, packed):
            _add(archive, f"blobs/sha256/{_digest(blob).removeprefix('sha256:')}", blob)
