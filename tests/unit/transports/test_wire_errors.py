"""Errors cross a link unchanged."""

import logging

import pytest

from nano.domain import errors
from nano.domain.errors import NanoError, Unknown
from nano.transports.framing import decode_message, encode_message
from nano.transports.messages import Refused
from nano.transports.wire_errors import to_error, to_refused

CLASSES = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, NanoError)]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_class_arrives_as_itself(kind: type[NanoError]) -> None:
    sent = kind("What.", code="some_code", hint="Do.", cell="Cell_1", sizes=[1, 2])
    refused = decode_message(encode_message(to_refused(sent, doing="test")))
    assert isinstance(refused, Refused)
    got = to_error(refused)
    assert type(got) is kind
    assert (got.message, got.code, got.hint, got.context) == ("What.", "some_code", "Do.", sent.context)


def test_a_subclass_of_another_room_arrives_as_its_nearest_known_class() -> None:
    class NoSuchVolume(Unknown):
        default_code = "unknown_volume"

    got = to_error(to_refused(NoSuchVolume("Gone."), doing="test"))
    assert (type(got), got.code) == (Unknown, "unknown_volume")


def test_a_class_of_a_newer_version_arrives_as_a_plain_error() -> None:
    got = to_error(
        Refused(kind="Sleepy", code="tired", message="Zzz.", context={"code": "trick", "message": "x", "a": 1})
    )
    assert (type(got), got.code, got.message, got.context) == (NanoError, "tired", "Zzz.", {"a": 1})


def test_context_that_json_cannot_say_travels_as_text(tmp_path: object) -> None:
    refused = decode_message(encode_message(to_refused(NanoError("x", where=tmp_path), doing="test")))
    assert isinstance(refused, Refused)
    assert refused.context == {"where": str(tmp_path)}


def test_a_defect_is_logged_here_and_anonymous_there(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        refused = to_refused(ZeroDivisionError("password=1"), doing="request")
    assert refused.code == "internal"
    assert "password" not in refused.message + refused.hint
    assert "doing=request" in caplog.text
