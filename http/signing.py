"""The product's request signing, Nano-HMAC-SHA256, as pure functions on bytes.

The wire form is that of the product we replace, bit for bit, so that its clients keep working; the test vectors in
``tests/golden/signing`` come from its verifier. The method is not part of a signature in that scheme; our own clients
close this by signing a header ``Nano-Method`` as well, which a verifier compares when it is among the signed ones.

What may be believed of a signature (clock, replay, who) is decided in ``verifier.py``, not here.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import quote_plus, unquote_to_bytes

from nano.domain.errors import Unauthenticated

METHOD: Final = b"Nano-HMAC-SHA256"
EMPTY_SHA256: Final = hashlib.sha256(b"").hexdigest().encode()
AUTHORIZATION: Final = b"nano-authorization"
DATE: Final = b"nano-date"
SCOPE: Final = b"nano-scope"
SESSION: Final = b"nano-session"
SIGNED_METHOD: Final = b"nano-method"
SCOPE_SUFFIX: Final = "/default/nano_request"
BODILESS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

_BAD_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_HEADER_BYTES_MAX = 2048

Headers = Mapping[bytes, bytes]  # lower-case names


class Authorization(NamedTuple):
    """The header ``Nano-Authorization`` taken apart; nothing in it is believed yet."""

    credential: str
    scope: bytes
    signed: tuple[bytes, ...]  # lower-case names, in order
    signature: bytes


def parse_authorization(value: bytes) -> Authorization:
    """Raises Unauthenticated(signature_malformed)."""
    method, _, rest = value.partition(b" ")
    parts = rest.split(b",")
    if method == METHOD and len(parts) == 3 and len(value) <= _HEADER_BYTES_MAX:
        credential, signed, signature = parts[0].strip(), parts[1].strip(), parts[2].strip()
        who, slash, scope = credential.removeprefix(b"Credential=").partition(b"/")
        if (
            credential.startswith(b"Credential=")
            and signed.startswith(b"SignedHeaders=")
            and signature.startswith(b"Signature=")
            and slash
            and who
        ):
            names = tuple(signed[14:].lower().split(b";"))
            return Authorization(who.decode("latin-1"), scope, names, signature[10:])
    raise Unauthenticated(
        "The header Nano-Authorization is not written as the signing scheme wants it.",
        code="signature_malformed",
        hint="Write: Nano-HMAC-SHA256 Credential=<id>/<scope>, SignedHeaders=<names>, Signature=<hex>.",
    )


@lru_cache(maxsize=1024)
def canonical_path(raw_path: bytes) -> bytes:
    """The decoded path, form-encoded twice ('/' becomes ``%252F``)."""
    return quote_plus(quote_plus(unquote_to_bytes(raw_path), safe=""), safe="").encode()


def query_pairs(query: bytes) -> list[tuple[bytes, bytes]]:
    """Decoded pairs in order. As in the product, a pair with ';' or a broken percent escape is passed over."""
    pairs = []
    for part in query.split(b"&"):
        if not part or b";" in part or _BAD_PERCENT.search(part):
            continue
        name, _, value = part.partition(b"=")
        pairs.append((unquote_to_bytes(name.replace(b"+", b" ")), unquote_to_bytes(value.replace(b"+", b" "))))
    return pairs


@lru_cache(maxsize=256)
def canonical_query(query: bytes) -> bytes:
    """Sorted by name; of a repeated parameter only the first value counts."""
    first: dict[bytes, bytes] = {}
    for name, value in query_pairs(query):
        first.setdefault(name, value)
    return "&".join(
        f"{quote_plus(name, safe='')}={quote_plus(first[name], safe='')}" for name in sorted(first)
    ).encode()


def canonical_request(
    raw_path: bytes, query: bytes, headers: Headers, signed: Sequence[bytes], body_sha256: bytes | None
) -> bytes:
    """``body_sha256`` in lower-case hex; None for the product's stream routes, which leave the line out."""
    lines = [b"%b:%b\n" % (name, headers.get(name, b"").strip()) for name in signed]
    parts = [canonical_path(raw_path), canonical_query(query) if query else b"", b"".join(lines), b";".join(signed)]
    if body_sha256 is not None:
        parts.append(body_sha256)
    return b"\n".join(parts)


def body_digest(method: str, body: bytes) -> bytes:
    if not body or method in BODILESS:
        return EMPTY_SHA256
    return hashlib.sha256(body).hexdigest().encode()


@lru_cache(maxsize=256)
def signing_key(key: bytes, scope: bytes) -> bytes:
    """Good for one key and one day."""
    return hmac.digest(b"nano" + key, scope, "sha256")


def signature(key: bytes, date: bytes, scope: bytes, canonical: bytes) -> bytes:
    """Lower-case hex."""
    text = b"%b\n%b\n%b\n%b" % (METHOD, date, scope, hashlib.sha256(canonical).hexdigest().encode())
    return hmac.digest(signing_key(key, scope), text, "sha256").hex().encode()


def sign(
    *,
    key_id: str,
    key: bytes,
    raw_path: bytes,
    query: bytes,
    headers: Headers,
    signed: Sequence[bytes],
    body_sha256: bytes | None,
) -> bytes:
    """The value of ``Nano-Authorization``. ``headers`` must hold nano-date and nano-scope."""
    scope = headers[SCOPE]
    canonical = canonical_request(raw_path, query, headers, signed, body_sha256)
    return b"%b Credential=%b/%b, SignedHeaders=%b, Signature=%b" % (
        METHOD,
        key_id.encode("latin-1"),
        scope,
        b";".join(signed),
        signature(key, headers[DATE], scope, canonical),
    )


def matches(
    authorization: Authorization,
    key: bytes,
    *,
    raw_path: bytes,
    query: bytes,
    headers: Headers,
    body_sha256: bytes | None,
) -> bool:
    """Whether the signature is the one that this key gives for this request.

    The product's clients sign ``Host`` without its port and may send it with one, so both spellings are tried.
    """
    date = headers.get(DATE, b"").strip()

    def agrees(shown: Headers) -> bool:
        canonical = canonical_request(raw_path, query, shown, authorization.signed, body_sha256)
        return hmac.compare_digest(signature(key, date, authorization.scope, canonical), authorization.signature)

    if agrees(headers):
        return True
    name, colon, port = headers.get(b"host", b"").rpartition(b":")
    return bool(colon) and port.isdigit() and b"host" in authorization.signed and agrees({**headers, b"host": name})
