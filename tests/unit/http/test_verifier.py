"""Who may be believed: clock window, scope, replay, and headers that count only when signed."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import httpx
import pytest

from nano.domain.errors import Unauthenticated
from nano.http.client import Signer
from nano.http.credentials import Credential, Credentials
from nano.http.verifier import Verified, Verifier

KEY = "a-key-that-is-long-enough"
NOW = datetime(2026, 11, 21, 3, 10, 53, 123456, tzinfo=UTC)
CREDENTIALS = Credentials([Credential("nanoctl", KEY, "administrator"), Credential("frontend", KEY, "frontend")])


class Sent:
    """A signed request that a test may tamper with."""

    def __init__(
        self,
        method: str = "GET",
        path: str = "/api/v2/guests",
        body: bytes = b"",
        at: datetime = NOW,
        key: str = KEY,
        key_id: str = "nanoctl",
        headers: dict[str, str] | None = None,
    ) -> None:
        request = httpx.Request(method, f"http://core:5850{path}", content=body, headers=headers)
        Signer(key_id, key, lambda: at).sign(request, body)
        self.method = method
        raw_path, _, self.query = request.url.raw_path.partition(b"?")
        self.raw_path = raw_path
        self.headers = {name.lower(): value for name, value in request.headers.raw}
        self.body = body

    def to(self, verifier: Verifier) -> Verified:
        return verifier.verify(self.method, self.raw_path, self.query, self.headers, self.body)


@pytest.fixture
def verifier() -> Verifier:
    return Verifier(CREDENTIALS, lambda: NOW)


def refused(verifier: Verifier, sent: Sent) -> str:
    with pytest.raises(Unauthenticated) as error:
        sent.to(verifier)
    assert KEY not in str(error.value)
    return error.value.code


def test_a_good_signature_names_its_credential(verifier: Verifier) -> None:
    verified = Sent("POST", body=b"{}").to(verifier)
    assert (verified.credential.id, verified.actor, verified.role) == ("nanoctl", "", "")
    assert len(verified.signature) == 64


def test_each_is_good_once(verifier: Verifier) -> None:
    sent = Sent()
    sent.to(verifier)
    assert refused(verifier, sent) == "signature_replayed"
    Sent().to(verifier)  # a new one at the very same time differs by its session


@pytest.mark.parametrize(
    ("seconds", "good"), [(-299, True), (299, True), (-301, False), (301, False), (-86_400, False)]
)
def test_the_clock_window(verifier: Verifier, seconds: int, good: bool) -> None:
    sent = Sent(at=NOW + timedelta(seconds=seconds))
    if good:
        sent.to(verifier)
    else:
        assert refused(verifier, sent) in ("signature_expired", "signature_scope")


def test_a_scope_of_another_day(verifier: Verifier) -> None:
    sent = Sent(at=NOW - timedelta(days=3))
    sent.headers[b"nano-date"] = NOW.isoformat().encode()
    assert refused(verifier, sent) == "signature_scope"
    other = Sent()
    other.headers[b"nano-scope"] = b"20261122/default/nano_request"
    assert refused(verifier, other) == "signature_scope"


def test_a_signer_far_east_is_in_tomorrow() -> None:
    late = datetime(2026, 11, 21, 23, 0, tzinfo=UTC)
    sent = Sent(at=late.astimezone(timezone(timedelta(hours=14))))
    assert sent.to(Verifier(CREDENTIALS, lambda: late)).credential.id == "nanoctl"


def tamper_query(sent: Sent) -> None:
    sent.query = b"state=running"


def tamper_path(sent: Sent) -> None:
    sent.raw_path = b"/api/v2/cells"


def tamper_body(sent: Sent) -> None:
    sent.body = b'{"name":"b"}'


def tamper_method(sent: Sent) -> None:
    sent.method = "DELETE"


def tamper_header(name: bytes, value: bytes) -> Callable[[Sent], None]:
    def change(sent: Sent) -> None:
        sent.headers[name] = value

    return change


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (tamper_query, "signature_invalid"),
        (tamper_path, "signature_invalid"),
        (tamper_body, "signature_invalid"),
        (tamper_method, "signature_invalid"),
        (tamper_header(b"idempotency-key", b"other"), "signature_invalid"),
        (tamper_header(b"if-match", b'"v2"'), "signature_invalid"),
        (tamper_header(b"content-type", b"text/plain"), "signature_invalid"),
        (tamper_header(b"nano-session", b"other"), "signature_invalid"),
        (tamper_header(b"nano-date", (NOW - timedelta(seconds=1)).isoformat().encode()), "signature_invalid"),
        (tamper_header(b"nano-date", b"yesterday"), "signature_malformed"),
        (tamper_header(b"nano-date", b"2026-11-21T03:10:53"), "signature_malformed"),  # no offset
        (tamper_header(b"nano-date", b"9999-12-31T23:59:59-23:59"), "signature_expired"),
        (tamper_header(b"nano-date", b"0001-01-01T00:00:00+23:59"), "signature_malformed"),
        (tamper_header(b"nano-date", b"\xff\xfe"), "signature_malformed"),
        (tamper_header(b"nano-actor", b"root"), "header_not_signed"),
        (tamper_header(b"nano-role", b"administrator"), "header_not_signed"),
        (tamper_header(b"nano-authorization", b"nonsense"), "signature_malformed"),
    ],
)
def test_whatever_is_changed_on_the_way(verifier: Verifier, change: Callable[[Sent], None], code: str) -> None:
    headers = {"idempotency-key": "k", "if-match": '"v1"', "content-type": "application/json"}
    sent = Sent("POST", body=b'{"name":"a"}', headers=headers)
    change(sent)
    assert refused(verifier, sent) == code


def test_nothing_is_remembered_of_a_wrong_one(verifier: Verifier) -> None:
    sent = Sent()
    good = sent.query
    sent.query = b"x=1"
    assert refused(verifier, sent) == "signature_invalid"
    sent.query = good
    sent.to(verifier)


def test_unknown_id_wrong_key_and_none_at_all(verifier: Verifier) -> None:
    assert refused(verifier, Sent(key_id="somebody")) == "unknown_credential"
    assert refused(verifier, Sent(key="another-key-of-length")) == "signature_invalid"
    bare = Sent()
    del bare.headers[b"nano-authorization"]
    assert refused(verifier, bare) == "signature_missing"


def test_signed_actor_is_told(verifier: Verifier) -> None:
    sent = Sent(key_id="frontend", headers={"nano-actor": "li", "nano-role": "operator"})
    verified = sent.to(verifier)
    assert (verified.credential.role, verified.actor, verified.role) == ("frontend", "li", "operator")
    sent = Sent(key_id="frontend", headers={"nano-actor": "li", "nano-role": "operator"})
    sent.headers[b"nano-role"] = b"administrator"
    assert refused(verifier, sent) == "signature_invalid"


def test_the_products_own_rules() -> None:
    """Same calendar day, no memory: what v1 clients rely on."""
    tolerant = Verifier(CREDENTIALS, lambda: NOW, hardened=False)
    sent = Sent(at=NOW + timedelta(hours=3))
    sent.to(tolerant)
    sent.to(tolerant)
    assert refused(tolerant, Sent(at=NOW - timedelta(days=1))) == "signature_expired"
