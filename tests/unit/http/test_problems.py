"""Errors become problem documents, bounded, and never show what is inside."""

import json
import logging

import pytest

from nano.domain.errors import Conflict, Failure, Invalid, NanoError, Unauthenticated
from nano.http.problems import TEXT_MAX, MethodNotAllowed, problem_answer, unexpected_answer


def test_document() -> None:
    answer = problem_answer(Conflict("Taken.", code="duplicate_name", hint="Another.", field="name", status="x"))
    document = json.loads(answer.body)
    assert answer.status == 409
    assert document == {
        "type": "about:blank",
        "title": "Conflict",
        "status": 409,
        "detail": "Taken.",
        "code": "duplicate_name",
        "hint": "Another.",
        "field": "name",
    }
    assert dict(answer.headers)[b"content-type"] == b"application/problem+json"


def test_headers_that_go_with_a_status() -> None:
    assert dict(problem_answer(Unauthenticated("No.")).headers)[b"www-authenticate"] == b"Nano-HMAC-SHA256"
    assert b"retry-after" in dict(problem_answer(Failure("Busy.")).headers)
    assert dict(problem_answer(MethodNotAllowed("PUT", ("GET",))).headers)[b"allow"] == b"GET"


@pytest.mark.parametrize("context", [{"a": object()}, {"a": "x" * 100_000}, {"a": "\ud800"}])
def test_a_context_that_can_not_be_told_is_left_out(context: dict[str, object]) -> None:
    document = json.loads(problem_answer(Invalid("Bad \ud800.", code="invalid", **context)).body)
    assert document["code"] == "invalid"
    assert "a" not in document


def test_texts_are_bounded() -> None:
    assert len(json.loads(problem_answer(NanoError("x" * 10_000)).body)["detail"]) == TEXT_MAX


def test_the_unexpected_is_logged_with_a_number(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    answer = unexpected_answer(RuntimeError("secret detail"), "GET", "/x")
    document = json.loads(answer.body)
    assert (answer.status, document["code"]) == (500, "internal")
    assert "secret detail" not in answer.body.decode()
    assert document["error_id"] in caplog.text
