"""Exit codes, one per class of error, and how each answer of the API becomes one.

    0  done            1  the work failed          2  the words or values are wrong
    3  refused         4  no such thing            5  not allowed
    6  not reachable   7  not done in time       130  interrupted (the task goes on)

Scripts may rely on these numbers; they are printed by ``nanoctl --help`` and checked by tests.
"""

from typing import Any, Final

from nano.domain.errors import (
    DeadlineExceeded,
    Failure,
    Forbidden,
    Invalid,
    JournalDamaged,
    NanoError,
    Refusal,
    Unauthenticated,
    Unknown,
    Unreachable,
)

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
REFUSED: Final = 3
NOT_FOUND: Final = 4
RIGHTS: Final = 5
UNREACHABLE: Final = 6
TIMEOUT: Final = 7
INTERRUPTED: Final = 130

SILENT_RETRIES: Final = 60  # tries to reach the API again while waiting for a task

TABLE: Final = (
    (OK, "done"),
    (FAILED, "the work failed; what was done is undone"),
    (USAGE, "a word or value is wrong"),
    (REFUSED, "refused: it stands against what exists"),
    (NOT_FOUND, "there is no such thing"),
    (RIGHTS, "the key is wrong or has not the right"),
    (UNREACHABLE, "the API does not answer"),
    (TIMEOUT, "not done in time; the task goes on"),
    (INTERRUPTED, "interrupted; the task goes on"),
)

_BY_STATUS: Final = {
    400: USAGE,
    401: RIGHTS,
    403: RIGHTS,
    404: NOT_FOUND,
    405: USAGE,
    413: REFUSED,
    422: USAGE,
    503: FAILED,
    504: TIMEOUT,
}


class ApiProblem(NanoError):
    """An answer of 4xx or 5xx: the problem document of RFC 9457, whole in ``document``."""

    def __init__(self, status: int, document: dict[str, Any]) -> None:
        message = document.get("detail") or document.get("title") or f"The API answered with status {status}."
        super().__init__(str(message), code=str(document.get("code") or f"http_{status}"), hint=_hint(document))
        self.answered = status
        self.document = document


class TaskFailed(NanoError):
    """A task that was waited for did not end as "done". ``row`` is the task's row."""

    def __init__(self, row: dict[str, Any]) -> None:
        error = row.get("error") or {}
        what = f"{row.get('kind', 'The task')} of {row.get('resource_name') or row.get('resource')}"
        said = "was cancelled" if row.get("state") == "cancelled" else "failed"
        message = f"{what} {said}: {error['message']}" if error.get("message") else f"{what} {said}."
        super().__init__(message, code=str(error.get("code") or "task_failed"), hint=str(error.get("hint") or ""))
        self.row = row


def _hint(document: dict[str, Any]) -> str:
    return str(document.get("hint") or "")


def exit_code(error: NanoError) -> int:
    match error:
        case ApiProblem():
            if error.answered == 503 and error.code == Unreachable.default_code:
                return UNREACHABLE
            return _BY_STATUS.get(error.answered, REFUSED if error.answered < 500 else FAILED)
        case Unreachable():
            return UNREACHABLE
        case DeadlineExceeded():
            return TIMEOUT
        case Unauthenticated() | Forbidden():
            return RIGHTS
        case Unknown():
            return NOT_FOUND
        case Invalid():
            return USAGE
        case JournalDamaged() | TaskFailed() | Failure():
            return FAILED
        case Refusal():
            return REFUSED
        case _:
            return FAILED


def as_document(error: NanoError) -> dict[str, Any]:
    """The error for ``-o json``: the API's own document, or one made like it."""
    if isinstance(error, ApiProblem) and error.document:
        return error.document
    document: dict[str, Any] = {"detail": error.message, "code": error.code, "hint": error.hint, **error.context}
    if isinstance(error, TaskFailed):
        document["task"] = error.row
    return document
