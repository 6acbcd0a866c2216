"""The signing scheme against the product's own vectors, and the corners of its encodings."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from nano.domain.errors import Unauthenticated
from nano.http import signing

GOLDEN = json.loads((Path(__file__).parents[2] / "golden/signing/vectors.json").read_text())
KEY = GOLDEN["key"].encode()


def headers_of(vector: dict[str, Any]) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value in (GOLDEN["headers"] | vector.get("headers", {})).items()}


@pytest.mark.parametrize("vector", GOLDEN["vectors"], ids=lambda vector: vector["path"])
def test_vectors_of_the_product(vector: dict[str, Any]) -> None:
    headers, body = headers_of(vector), vector["body"].encode()
    signed = vector["signed"].encode().split(b";")
    digest = signing.body_digest(vector["method"], body)
    path, query = vector["path"].encode(), vector["query"].encode()
    assert signing.canonical_path(path).decode() == vector["canonical_path"]
    assert signing.canonical_query(query).decode() == vector["canonical_query"]
    canonical = signing.canonical_request(path, query, headers, signed, digest)
    assert hashlib.sha256(canonical).hexdigest() == vector["canonical_sha256"]
    value = signing.sign(
        key_id=GOLDEN["id"],
        key=KEY,
        raw_path=path,
        query=query,
        headers=headers,
        signed=signed,
        body_sha256=digest,
    )
    assert value.decode() == (
        f"Nano-HMAC-SHA256 Credential=dummyID/{GOLDEN['headers']['nano-scope']}, "
        f"SignedHeaders={vector['signed']}, Signature={vector['signature']}"
    )
    found = signing.parse_authorization(value)
    assert signing.matches(found, KEY, raw_path=path, query=query, headers=headers, body_sha256=digest)


@pytest.mark.parametrize(
    ("query", "canonical"),
    [
        (b"", b""),
        (b"b=2&a=1", b"a=1&b=2"),
        (b"a=1&a=2", b"a=1"),  # only the first value of a repeated parameter counts
        (b"a", b"a="),
        (b"a=x%20y+z", b"a=x+y+z"),
        (b"a=1;b=2&c=3", b"c=3"),  # a pair with ';' is passed over
        (b"a=%zz&c=3", b"c=3"),
        (b"n=%E4%B8%AD&t=~_.-*", b"n=%E4%B8%AD&t=~_.-%2A"),
        (b"&&a=1&", b"a=1"),
    ],
)
def test_canonical_query(query: bytes, canonical: bytes) -> None:
    assert signing.canonical_query(query) == canonical


def test_path_is_decoded_then_encoded_twice() -> None:
    assert signing.canonical_path(b"/a%20b/%E4") == b"%252Fa%2Bb%252F%25E4"
    assert signing.canonical_path(b"/a b") == signing.canonical_path(b"/a%20b")


def test_stream_leaves_the_body_out() -> None:
    with_body = signing.canonical_request(b"/x", b"", {}, [b"host"], signing.EMPTY_SHA256)
    assert with_body == signing.canonical_request(b"/x", b"", {}, [b"host"], None) + b"\n" + signing.EMPTY_SHA256


def test_get_signs_no_body() -> None:
    assert signing.body_digest("GET", b"x") == signing.EMPTY_SHA256
    assert signing.body_digest("POST", b"") == signing.EMPTY_SHA256
    assert signing.body_digest("DELETE", b"x") == hashlib.sha256(b"x").hexdigest().encode()


def test_host_is_accepted_with_and_without_its_port() -> None:
    headers = headers_of({}) | {b"host": b"127.0.0.1"}
    names = [b"host", b"nano-date", b"nano-scope"]
    value = signing.sign(
        key_id="a", key=KEY, raw_path=b"/x", query=b"", headers=headers, signed=names, body_sha256=signing.EMPTY_SHA256
    )
    sent = headers | {b"host": b"127.0.0.1:5850"}

    def agrees(shown: dict[bytes, bytes]) -> bool:
        parsed = signing.parse_authorization(value)
        return signing.matches(parsed, KEY, raw_path=b"/x", query=b"", headers=shown, body_sha256=signing.EMPTY_SHA256)

    assert agrees(headers)
    assert agrees(sent)
    assert not agrees(headers | {b"host": b"127.0.0.2"})
    assert not agrees(headers | {b"host": b"127.0.0.1:evil"})


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"Nano-HMAC-SHA256",
        b"Bearer x",
        b"Nano-HMAC-SHA1 Credential=a/b, SignedHeaders=host, Signature=00",
        b"Nano-HMAC-SHA256 Credential=a, SignedHeaders=host, Signature=00",
        b"Nano-HMAC-SHA256 Credential=/b, SignedHeaders=host, Signature=00",
        b"Nano-HMAC-SHA256 SignedHeaders=host, Credential=a/b, Signature=00",
        b"Nano-HMAC-SHA256 Credential=a/b, SignedHeaders=host",
        b"Nano-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=00, More=1",
        b"Nano-HMAC-SHA256 Credential=a/b, SignedHeaders=" + b"h;" * 2000 + b", Signature=00",
    ],
)
def test_what_is_no_authorization(value: bytes) -> None:
    with pytest.raises(Unauthenticated) as refused:
        signing.parse_authorization(value)
    assert refused.value.code == "signature_malformed"


def test_spaces_around_the_parts_are_let_pass() -> None:
    parsed = signing.parse_authorization(b"Nano-HMAC-SHA256  Credential=a/b/c ,SignedHeaders=Host;X ,  Signature=0f ")
    assert parsed == ("a", b"b/c", (b"host", b"x"), b"0f")
