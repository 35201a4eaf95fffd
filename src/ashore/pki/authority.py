# SPDX-License-Identifier: Apache-2.0
"""A certificate authority as a value: make one, load one, issue from it."""

import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Usage = Literal["client", "server"]

_USAGES = {"client": ExtendedKeyUsageOID.CLIENT_AUTH, "server": ExtendedKeyUsageOID.SERVER_AUTH}

_BACKDATED = dt.timedelta(minutes=5)
"""How far before now a certificate starts: machines whose clocks are a little behind must accept it at once."""


class Refused(ValueError):  # noqa: N818 (a finding about data)
    """A key, request or certificate can't be used; the text says which and why."""


@dataclass(frozen=True)
class KeyPair:
    """A private key and the certificate that belongs to it, both PEM."""

    key_pem: bytes
    cert_pem: bytes


@dataclass(frozen=True)
class Authority:
    """A certificate authority; ``cert_pem`` is what its clients trust.

    Keys are EC P-256 everywhere: a pair takes well under a millisecond, and OVS, Go and OpenSSL all take it.
    """

    key_pem: bytes
    cert_pem: bytes

    @classmethod
    def create(cls, name: str, *, days: float = 3650) -> Self:
        """A new self-signed authority whose common name is ``name``."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            _dated(subject, key.public_key(), days)
            .issuer_name(subject)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(is_authority=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(_private_pem(key), certificate.public_bytes(serialization.Encoding.PEM))

    def issue(  # noqa: PLR0913 (a certificate's contents, each optional and named)
        self,
        *,
        common_name: str,
        organizations: Sequence[str] = (),
        ips: Sequence[str] = (),
        dns: Sequence[str] = (),
        usages: Sequence[Usage] = ("client",),
        days: float = 365,
    ) -> KeyPair:
        """A new key with its certificate; ``organizations`` are the groups that Kubernetes sees."""
        key_pem = make_key()
        request = make_request(key_pem, common_name=common_name, organizations=organizations, ips=ips, dns=dns)
        return KeyPair(key_pem, self.sign(request, usages=usages, days=days))

    def sign(self, request_pem: bytes, *, usages: Sequence[Usage] = ("client",), days: float = 365) -> bytes:
        """The certificate for a request, with the request's subject and alternative names and nothing else of it.

        Raises:
            Refused: the request is no PEM, or its signature isn't its key's.
        """
        try:
            request = x509.load_pem_x509_csr(request_pem)
        except ValueError as error:
            raise Refused(f"certificate request can't be read: {error}") from error
        if not request.is_signature_valid:
            raise Refused(f"certificate request of {request.subject.rfc4514_string()}: signature isn't its key's")
        issuer = x509.load_pem_x509_certificate(self.cert_pem)
        key = _load_key(self.key_pem)
        builder = (
            _dated(request.subject, request.public_key(), days)
            .issuer_name(issuer.subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(is_authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([_USAGES[usage] for usage in usages]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        )
        try:
            names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except x509.ExtensionNotFound:
            pass
        else:
            builder = builder.add_extension(names.value, critical=False)
        return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def make_key() -> bytes:
    """A new EC P-256 private key, PKCS#8 PEM, not encrypted."""
    return _private_pem(ec.generate_private_key(ec.SECP256R1()))


def make_request(
    key_pem: bytes,
    *,
    common_name: str,
    organizations: Sequence[str] = (),
    ips: Sequence[str] = (),
    dns: Sequence[str] = (),
) -> bytes:
    """A certificate signing request (PKCS#10, PEM) for a key.

    Raises:
        Refused: ``key_pem`` is no EC private key, or an entry of ``ips`` is no address.
    """
    subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization) for organization in organizations]
    subject.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    try:
        names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(ip)) for ip in ips]
    except ValueError as error:
        raise Refused(f"certificate request of {common_name}: {error}") from error
    names += [x509.DNSName(name) for name in dns]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(_load_key(key_pem), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def public_key_of(key_pem: bytes) -> bytes:
    """The public half of a private key, PEM (what ``--service-account-key-file`` wants)."""
    return (
        _load_key(key_pem)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def _dated(subject: x509.Name, public_key: CertificatePublicKeyTypes, days: float) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _key_usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _load_key(key_pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError) as error:
        raise Refused(f"private key can't be read: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Refused(f"private key is {type(key).__name__}; ashore's keys are EC")
    return key
