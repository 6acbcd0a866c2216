"""Keys, certificates and the domain's CA."""

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from nano.domain.errors import Invalid
from nano.transports.identity import fingerprint_of, load_or_create
from nano.transports.messages import Hello

HELLO = Hello("Cell_1", "cell", "nano", "0")


def test_a_node_keeps_its_key_and_fingerprint(tmp_path: Path) -> None:
    first = load_or_create(tmp_path, "Cell_1")
    again = load_or_create(tmp_path, "Cell_1")
    assert first.fingerprint == again.fingerprint
    assert first.certificate == again.certificate
    assert first.secret(b"reset") == again.secret(b"reset") != first.secret(b"other")
    assert (tmp_path / "node.key").stat().st_mode & 0o777 == 0o600


def test_the_fingerprint_is_that_of_the_public_key(tmp_path: Path) -> None:
    node = load_or_create(tmp_path, "Cell_1")
    der = node.certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert node.public_key == der
    assert node.fingerprint == sha256(der).hexdigest() == fingerprint_of(der)


def test_core_makes_the_domains_ca_once(tmp_path: Path) -> None:
    core = load_or_create(tmp_path, "Core_1", domain="nano", addresses=["127.0.0.1", "core.lan"], with_authority=True)
    assert core.authority is not None
    core.certificate.verify_directly_issued_by(core.authority.certificate)
    assert (tmp_path / "authority.key").stat().st_mode & 0o777 == 0o600
    names = core.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("127.0.0.1")]
    assert "core.lan" in names.get_values_for_type(x509.DNSName)
    again = load_or_create(tmp_path, "Core_1", domain="nano", addresses=["127.0.0.1"], with_authority=True)
    assert again.certificate == core.certificate  # it serves that address already
    assert again.authority is not None
    assert again.authority.fingerprint == core.authority.fingerprint


def test_a_changed_address_gives_core_a_new_certificate_for_the_same_key(tmp_path: Path) -> None:
    core = load_or_create(tmp_path, "Core_1", addresses=["127.0.0.1"], with_authority=True)
    moved = load_or_create(tmp_path, "Core_1", addresses=["10.0.0.9"], with_authority=True)
    assert moved.certificate != core.certificate
    assert moved.fingerprint == core.fingerprint


def test_an_issued_certificate_is_adopted_and_kept(tmp_path: Path) -> None:
    core = load_or_create(tmp_path / "core", "Core_1", with_authority=True)
    cell = load_or_create(tmp_path / "cell", "Cell_1")
    assert core.authority is not None
    cell.adopt(*core.authority.issue_for(HELLO, cell.public_key))
    assert load_or_create(tmp_path / "cell", "Cell_1").certificate == cell.certificate
    cell.certificate.verify_directly_issued_by(core.authority.certificate)
    usage = cell.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert not usage.ca


def test_what_is_not_ours_is_not_adopted(tmp_path: Path) -> None:
    core = load_or_create(tmp_path / "core", "Core_1", with_authority=True)
    cell = load_or_create(tmp_path / "cell", "Cell_1")
    other = load_or_create(tmp_path / "other", "Core_2", with_authority=True)
    assert core.authority is not None
    assert other.authority is not None
    certificate, authority = core.authority.issue_for(HELLO, cell.public_key)
    for bad in (
        core.authority.issue_for(HELLO, other.public_key),  # for another key
        (certificate, other.authority.pem),  # not of that CA
        ("nonsense", authority),
        (certificate, ""),
    ):
        with pytest.raises(Invalid) as caught:
            cell.adopt(*bad)
        assert caught.value.code == "certificate_bad"
    assert not cell.authority_path.exists()


def test_certificates_are_long_and_backdated(tmp_path: Path) -> None:
    now = datetime(2026, 11, 21, tzinfo=UTC)
    core = load_or_create(tmp_path, "Core_1", with_authority=True, now=lambda: now)
    assert core.authority is not None
    for certificate in (core.certificate, core.authority.certificate):
        assert certificate.not_valid_before_utc == now - timedelta(days=1)
        assert certificate.not_valid_after_utc > now + timedelta(days=19 * 365)


def test_a_damaged_key_is_not_replaced(tmp_path: Path) -> None:
    load_or_create(tmp_path, "Cell_1")
    (tmp_path / "node.key").write_text("damaged")
    with pytest.raises(Invalid) as caught:
        load_or_create(tmp_path, "Cell_1")
    assert caught.value.code == "key_unreadable"
    assert (tmp_path / "node.key").read_text() == "damaged"


def test_a_certificate_of_another_key_is_noticed(tmp_path: Path) -> None:
    load_or_create(tmp_path / "one", "Cell_1")
    load_or_create(tmp_path / "two", "Cell_2")
    (tmp_path / "two" / "node.crt").write_bytes((tmp_path / "one" / "node.crt").read_bytes())
    with pytest.raises(Invalid, match="not the certificate of the key"):
        load_or_create(tmp_path / "two", "Cell_2")


def test_openssl_takes_the_files_as_they_are(tmp_path: Path) -> None:
    core = load_or_create(tmp_path, "Core_1", addresses=["127.0.0.1"], with_authority=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(core.certificate_path, core.key_path)
    tls.load_verify_locations(core.authority_path)
    assert len(tls.get_ca_certs()) == 1
