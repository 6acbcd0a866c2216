"""What clients send, read strictly: each mistake has its code and names its field."""

import pytest

from nano.domain.compute_pool import ModifyComputePool
from nano.domain.errors import NanoError
from nano.domain.guest_commands import CreateGuest, DeleteGuest
from nano.http.decoding import decode_command, decode_object, decode_query, truth, whole_number

GOOD = {"name": "a", "memory": 1 << 27, "disks": [1 << 26]}


def test_path_arguments_become_fields() -> None:
    assert decode_command(ModifyComputePool, {"enabled": False}, {"pool": "p"}) == ModifyComputePool(
        pool="p", enabled=False
    )
    assert decode_command(DeleteGuest, {"force": "true"}, {"guest": "g"}, lax=True) == DeleteGuest(
        guest="g", force=True
    )


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({**GOOD, "colour": "red"}, "unknown_field", "colour"),
        ({**GOOD, "type": "guest.delete"}, "unknown_field", "type"),
        ({"name": "a", "disks": [1]}, "missing_field", "memory"),
        ({**GOOD, "memory": "128MiB"}, "invalid_type", "memory"),
        ({**GOOD, "memory": 1.5}, "invalid_type", "memory"),
        ({**GOOD, "cores": True}, "invalid_type", "cores"),
        ({**GOOD, "cores": None}, "invalid_type", "cores"),
        ({**GOOD, "disks": [1, "2"]}, "invalid_type", "disks[1]"),
        ({**GOOD, "start": "yes"}, "invalid_type", "start"),
        ({**GOOD, "hardware": {"disk": "scsi", "colour": "red"}}, "unknown_field", "hardware.colour"),
        ({**GOOD, "hardware": {"disk": 1}}, "invalid_type", "hardware.disk"),
    ],
)
def test_mistakes_in_a_body(body: dict[str, object], code: str, field: str) -> None:
    with pytest.raises(NanoError) as refused:
        decode_command(CreateGuest, body, {})
    assert (refused.value.status, refused.value.code, refused.value.context["field"]) == (422, code, field)
    assert refused.value.hint


def test_the_path_can_not_be_contradicted() -> None:
    with pytest.raises(NanoError) as refused:
        decode_command(DeleteGuest, {"guest": "other"}, {"guest": "g"})
    assert refused.value.code == "unknown_field"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b'{"a":1}x', 400, "invalid_json"),
        (b'{"a":"\xff"}', 400, "invalid_json"),
        (b"[" * 100_000, 422, "invalid_type"),
        (b'{"a":' * 100_000, 400, "invalid_json"),
        (b'{"a":NaN}', 400, "invalid_json"),
        (b"[]", 422, "invalid_type"),
        (b"null", 422, "invalid_type"),
    ],
)
def test_what_is_no_object(body: bytes, status: int, code: str) -> None:
    with pytest.raises(NanoError) as refused:
        decode_object(body)
    assert (refused.value.status, refused.value.code) == (status, code)


def test_nothing_is_an_empty_object() -> None:
    assert decode_object(b"") == decode_object(b" \n") == {}


def test_query() -> None:
    assert decode_query(b"", ()) == {}
    assert decode_query(b"limit=5&name=%E4%B8%AD", ("limit", "name")) == {"limit": "5", "name": "中"}


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        (b"limt=5", 422, "unknown_parameter"),
        (b"limit=5&limit=6", 422, "repeated_parameter"),
        (b"limit=5;limit=6", 400, "invalid_query"),
        (b"limit=%zz", 400, "invalid_query"),
        (b"limit=%ff", 400, "invalid_query"),
    ],
)
def test_mistakes_in_a_query(query: bytes, status: int, code: str) -> None:
    with pytest.raises(NanoError) as refused:
        decode_query(query, ("limit",))
    assert (refused.value.status, refused.value.code) == (status, code)


def test_unknown_fields_deep_inside_are_refused_by_their_place() -> None:
    rules = [{"action": "drop"}, {"action": "drop", "colour": "red"}]
    with pytest.raises(NanoError) as refused:
        decode_command(CreateGuest, {**GOOD, "policy": {"rules": rules}}, {})
    assert (refused.value.code, refused.value.context["field"]) == ("unknown_field", "policy.rules[1].colour")


def test_numbers_and_truth() -> None:
    assert whole_number("12", "limit", 1, 100) == 12
    assert truth("True", "dry_run") is True
    assert truth("0", "dry_run") is False
    for text in ("", "0", "101", "-1", "1.0", "٣", "1e3", "9" * 50):
        with pytest.raises(NanoError) as refused:
            whole_number(text, "limit", 1, 100)
        assert refused.value.code == "invalid_limit"
    with pytest.raises(NanoError):
        truth("yes", "dry_run")
