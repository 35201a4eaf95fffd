# SPDX-License-Identifier: Apache-2.0
"""pki: what it issues works in real TLS handshakes, and secrets reach the disk whole and private."""

import pathlib
import ssl
from collections.abc import Sequence

import pytest
import yaml

from ashore import pki


def _context(pair: pki.KeyPair, trusted: bytes, directory: pathlib.Path, *, is_server: bool) -> ssl.SSLContext:
    stem = "server" if is_server else "client"
    (directory / f"{stem}.crt").write_bytes(pair.cert_pem)
    (directory / f"{stem}.key").write_bytes(pair.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if is_server else ssl.PROTOCOL_TLS_CLIENT)
    context.load_cert_chain(directory / f"{stem}.crt", directory / f"{stem}.key")
    context.load_verify_locations(cadata=trusted.decode())
    context.verify_mode = ssl.CERT_REQUIRED
    # Strict RFC 5280 checks are the default from Python 3.13 on; what we issue must pass them.
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def _handshake(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> ssl.SSLObject:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        server.wrap_bio(to_server, to_client, server_side=True),
        client.wrap_bio(to_client, to_server, server_hostname=name),
    ]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ends[0]


@pytest.fixture(scope="module")
def authority() -> pki.Authority:
    return pki.Authority.create("test-ca")


def _meet(
    authority: pki.Authority,
    directory: pathlib.Path,
    *,
    name: str = "127.0.0.1",
    client_usages: Sequence[pki.Usage] = ("client",),
    client_authority: pki.Authority | None = None,
) -> ssl.SSLObject:
    server = authority.issue(common_name="api", ips=["127.0.0.1", "fd00::1"], dns=["api.test"], usages=["server"])
    client = (client_authority or authority).issue(
        common_name="ashore:host:worker-1", organizations=["ashore:hosts"], usages=client_usages
    )
    return _handshake(
        _context(client, authority.cert_pem, directory, is_server=False),
        _context(server, authority.cert_pem, directory, is_server=True),
        name,
    )


@pytest.mark.parametrize("name", ["127.0.0.1", "fd00::1", "api.test"])
def test_issued_pairs_shake_hands_under_every_name(authority: pki.Authority, tmp_path: pathlib.Path, name: str) -> None:
    peer = _meet(authority, tmp_path, name=name).getpeercert()
    assert peer is not None
    subject = [pair for part in peer["subject"] for pair in part]
    assert subject == [("organizationName", "ashore:hosts"), ("commonName", "ashore:host:worker-1")]


def test_a_name_that_was_not_asked_for_is_refused(authority: pki.Authority, tmp_path: pathlib.Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match=r"other\.test"):
        _meet(authority, tmp_path, name="other.test")


def test_a_server_certificate_is_no_client_certificate(authority: pki.Authority, tmp_path: pathlib.Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
        _meet(authority, tmp_path, client_usages=["server"])


def test_a_namesake_authority_is_not_trusted(authority: pki.Authority, tmp_path: pathlib.Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        _meet(authority, tmp_path, client_authority=pki.Authority.create("test-ca"))


def test_a_request_is_signed_with_its_own_key_and_subject(authority: pki.Authority, tmp_path: pathlib.Path) -> None:
    key = pki.make_key()
    cert = authority.sign(pki.make_request(key, common_name="ashore:dpu:worker-1", organizations=["ashore:dpus"]))
    (tmp_path / "both.pem").write_bytes(cert + key)
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(tmp_path / "both.pem")  # raises when key and cert differ


def test_a_damaged_request_is_refused(authority: pki.Authority) -> None:
    with pytest.raises(pki.Refused, match="can't be read"):
        authority.sign(b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n")


def test_an_ip_that_is_none_is_refused(authority: pki.Authority) -> None:
    with pytest.raises(pki.Refused, match=r"worker.*does not appear to be"):
        authority.issue(common_name="worker", ips=["300.1.1.1"])


def test_private_files_are_private_whole_and_leave_nothing_beside_them(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "deep" / "key.pem"
    pki.write_private(path, b"one")
    pki.write_private(path, b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_directory_as_it_was(tmp_path: pathlib.Path) -> None:
    (tmp_path / "key.pem").mkdir()
    with pytest.raises(OSError, match="directory"):
        pki.write_private(tmp_path / "key.pem", b"x")
    assert list(tmp_path.iterdir()) == [tmp_path / "key.pem"]


def test_a_kubeconfig_refers_to_files_or_carries_the_data() -> None:
    inline = yaml.safe_load(pki.render_kubeconfig("https://[fd00::1]:6443", pki.Credentials(b"ca", b"c", b"k")))
    assert inline["clusters"][0]["cluster"] == {
        "server": "https://[fd00::1]:6443",
        "certificate-authority-data": "Y2E=",
    }
    files = pki.Credentials(pathlib.Path("ca.pem"), pathlib.Path("cert.pem"), pathlib.Path("key.pem"))
    user = yaml.safe_load(pki.render_kubeconfig("https://a:1", files))["users"][0]["user"]
    assert user == {"client-certificate": "cert.pem", "client-key": "key.pem"}
