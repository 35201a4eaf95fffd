# SPDX-License-Identifier: Apache-2.0
import gzip
import hashlib
import io
import json
import pathlib
import tarfile

from ashore.lab.tools import oci


def _image(tmp_path: pathlib.Path) -> oci.Image:
    (tmp_path / "program").write_bytes(b"#!")
    return oci.Image(
        name="lab.local/demo:1", entrypoint=("/bin/sh",), programs={"bin/busybox": tmp_path / "program"},
        links={"bin/sh": "busybox"},
    )  # fmt: skip


def test_every_blob_of_an_image_has_the_digest_that_is_said_of_it(tmp_path: pathlib.Path) -> None:
    oci.write(_image(tmp_path), tmp_path / "image.tar")
    with tarfile.open(tmp_path / "image.tar") as archive:
        blobs = {name: (archive.extractfile(name) or io.BytesIO()).read() for name in archive.getnames()}
    for name, blob in blobs.items():
        if name.startswith("blobs/"):
            assert name == f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}"
    (named,) = json.loads(blobs["index.json"])["manifests"]
    assert named["annotations"]["io.containerd.image.name"] == "lab.local/demo:1"
    manifest = json.loads(blobs["blobs/" + named["digest"].replace(":", "/")])
    config = json.loads(blobs["blobs/" + manifest["config"]["digest"].replace(":", "/")])
    layer = gzip.decompress(blobs["blobs/" + manifest["layers"][0]["digest"].replace(":", "/")])
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}"]
    with tarfile.open(fileobj=io.BytesIO(layer)) as tree:
        assert tree.getmember("bin/sh").linkname == "busybox"
        assert tree.getmember("bin/busybox").mode == 0o755
        assert tree.getmember("tmp").mode == 0o1777


def test_the_same_content_gives_the_same_bytes(tmp_path: pathlib.Path) -> None:
    oci.write(_image(tmp_path), tmp_path / "one.tar")
    oci.write(_image(tmp_path), tmp_path / "two.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
