"""A node's key and certificates, and the domain's own CA that Core makes at its first start.

A node *is* its EC P-256 key; its fingerprint is the SHA-256 of the key's SubjectPublicKeyInfo (DER), as in ``Remote``.
A certificate is only the form in which TLS wants the key shown: self-signed until Core approves the node and issues
one of the CA for the same key, which the image service then asks for. Invariants: private keys are mode 0600, written
once, never replaced; a certificate is taken over only for our own key. Lifetimes are long and begin a day early,
because hosts of a private cloud have no one to renew them and clocks that are off. No revocation lists: links and the
image service look at the approved fingerprints.
"""

import ipaddress
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Final, Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from nano.domain.errors import Invalid
from nano.transports.messages import Hello

VALID_DAYS: Final = 20 * 365
BACKDATED: Final = timedelta(days=1)

Now = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


class _Public(Protocol):
    def public_bytes(self, encoding: serialization.Encoding, format: serialization.PublicFormat) -> bytes: ...


def public_der(key: _Public) -> bytes:
    """DER SubjectPublicKeyInfo of any public key that ``cryptography`` knows."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def fingerprint_of(der: bytes) -> str:
    """Lower-case hex SHA-256 of a DER SubjectPublicKeyInfo."""
    return sha256(der).hexdigest()


class NodeIdentity:
    """Key and certificate of one node. ``authority`` only on Core."""

    def __init__(
        self,
        key: ec.EllipticCurvePrivateKey,
        certificate: x509.Certificate,
        folder: Path,
        authority: "Authority | None" = None,
    ) -> None:
        self.key = key
        self.certificate = certificate
        self.authority = authority
        self.public_key = public_der(key.public_key())
        self.fingerprint = fingerprint_of(self.public_key)
        self.key_path = folder / "node.key"
        self.certificate_path = folder / "node.crt"
        self.authority_path = folder / "authority.crt"

    def adopt(self, certificate: str, authority: str) -> None:
        """Take over the certificate that Core issued with its approval, and the CA's. Raises Invalid when it is not
        for our key or not of that CA."""
        issued, root = _load(certificate), _load(authority)
        try:
            issued.verify_directly_issued_by(root)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise Invalid(
                "The certificate was not issued by the CA that came with it.", code="certificate_bad"
            ) from error
        if public_der(issued.public_key()) != self.public_key:
            raise Invalid("The certificate is for another key.", code="certificate_bad")
        if issued == self.certificate and self.authority_path.exists():
            return
        _write(self.authority_path, _pem(root), 0o644)
        _write(self.certificate_path, _pem(issued), 0o644)
        self.certificate = issued

    def secret(self, purpose: bytes) -> bytes:
        """32 bytes that only the holder of the key can make, the same after a restart."""
        number = self.key.private_numbers().private_value.to_bytes(32, "big")
        return sha256(b"nano " + purpose + b"\0" + number).digest()


class Authority:
    """The domain's CA: a key on Core, used for nothing but issuing node certificates."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate, now: Now = utc_now) -> None:
        self._key = key
        self.certificate = certificate
        self.pem = _pem(certificate).decode()
        self.fingerprint = fingerprint_of(public_der(certificate.public_key()))
        self._now = now

    def issue(self, public_key: bytes, name: str, addresses: Sequence[str] = ()) -> x509.Certificate:
        """A certificate for a node's key (DER). ``addresses``: IP addresses and DNS names it serves TLS on."""
        key = serialization.load_der_public_key(public_key)
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise Invalid("Node keys are EC P-256.", code="key_unsupported")
        return (
            _builder(name, self.certificate.subject, key, self._now())
            .add_extension(_names(name, addresses), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign_certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def issue_for(self, hello: Hello, public_key: bytes) -> tuple[str, str]:
        """(certificate, CA), both PEM, for a node that is being approved (``handshake.Issue``)."""
        return _pem(self.issue(public_key, hello.name)).decode(), self.pem


def load_or_create(
    folder: Path,
    name: str,
    *,
    domain: str = "",
    addresses: Sequence[str] = (),
    with_authority: bool = False,
    now: Now = utc_now,
) -> NodeIdentity:
    """The identity kept in ``folder`` (a node's config/), made when it is absent. With ``with_authority`` also the
    domain's CA, and Core's certificate is of it and names ``addresses``, reissued when those change.
    Raises Invalid(code="key_unreadable") for a damaged file: a new key would be a new node."""
    folder.mkdir(parents=True, exist_ok=True)
    key = _load_or_make_key(folder / "node.key")
    public = public_der(key.public_key())
    authority = None
    if with_authority:
        authority_key = _load_or_make_key(folder / "authority.key")
        path = folder / "authority.crt"
        if not path.exists():
            _write(path, _pem(_make_root(authority_key, f"Nano domain {domain or name}"[:64], now())), 0o644)
        authority = Authority(authority_key, _load(path.read_text()), now)
    path = folder / "node.crt"
    certificate = _load(path.read_text()) if path.exists() else None
    if certificate is None or (authority and not _serves(certificate, name, addresses)):
        certificate = (
            authority.issue(public, name, addresses) if authority else _self_signed(key, name, addresses, now())
        )
        _write(path, _pem(certificate), 0o644)
    if public_der(certificate.public_key()) != public:
        raise Invalid(f"{path} is not the certificate of the key beside it.", code="key_unreadable")
    return NodeIdentity(key, certificate, folder, authority)


def _load_or_make_key(path: Path) -> ec.EllipticCurvePrivateKey:
    if not path.exists():
        fresh = ec.generate_private_key(ec.SECP256R1())
        pem = fresh.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        _write(path, pem, 0o600)
        return fresh
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except ValueError as error:
        raise Invalid(f"{path} is not a private key: {error}.", code="key_unreadable") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Invalid(f"{path} is not an EC key.", code="key_unreadable")
    return key


def _write(path: Path, data: bytes, mode: int) -> None:
    partial = path.with_name(path.name + ".part")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _load(pem: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except ValueError as error:
        raise Invalid(f"A certificate can't be read: {error}.", code="certificate_bad") from error


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64] or "nano")])


def _builder(name: str, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_subject(name))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _names(name: str, addresses: Sequence[str]) -> x509.SubjectAlternativeName:
    # A common name like Cell_0a1b has an underscore: no host name, but what checks here go by is the address or the key.
    names: list[x509.GeneralName] = [x509.DNSName(name)] if name.isascii() and name else []
    for address in addresses:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(address)))
        except ValueError:
            names.append(x509.DNSName(address))
    return x509.SubjectAlternativeName(names)


def _serves(certificate: x509.Certificate, name: str, addresses: Sequence[str]) -> bool:
    try:
        held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    return set(_names(name, addresses)) <= set(held)


def _make_root(key: ec.EllipticCurvePrivateKey, name: str, now: datetime) -> x509.Certificate:
    return (
        _builder(name, _subject(name), key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _self_signed(
    key: ec.EllipticCurvePrivateKey, name: str, addresses: Sequence[str], now: datetime
) -> x509.Certificate:
    return (
        _builder(name, _subject(name), key.public_key(), now)
        .add_extension(_names(name, addresses), critical=False)
        .sign(key, hashes.SHA256())
    )
