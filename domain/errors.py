"""Every refusal and failure Nano can name, as one tree.

    NanoError                      500  internal
    ├── Refusal                    409  the request was understood and is not possible; nothing changed
    │   ├── Invalid                422  a value is wrong
    │   ├── Unknown                404  no such resource
    │   ├── Conflict               409  it stands against what exists (duplicate name, wrong state)
    │   ├── Stale                  412  If-Match named an older version
    │   ├── NoCapacity             409  placement found no cell; ``context`` holds a reason per cell
    │   ├── Unauthenticated        401  no valid signature or session
    │   ├── Forbidden              403  authenticated, but without the right
    │   └── TooLarge               413  more bytes than the limit
    └── Failure                    503  the attempt failed for a reason outside the request
        ├── Unreachable            503  a node or service does not answer
        ├── DeadlineExceeded       504  it did not end in time
        ├── HostError              502  the hypervisor refused or broke
        ├── DiskFull               507  no room left
        └── JournalError           503  the journal can't take or read a fact
            └── JournalDamaged     503  names file and byte

Each carries a stable ``code`` (``noun_problem``, used in API and command line), ``message`` (what happened and
why), ``hint`` (what to do next) and ``context`` (JSON values for programs). HTTP maps ``status`` once.
"""

from typing import Any, ClassVar


class NanoError(Exception):
    status: ClassVar[int] = 500
    default_code: ClassVar[str] = "internal"

    def __init__(self, message: str, *, code: str = "", hint: str = "", **context: Any) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.hint = hint
        self.context = context

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class Refusal(NanoError):
    status = 409
    default_code = "refused"


class Invalid(Refusal):
    status = 422
    default_code = "invalid"


class Unknown(Refusal):
    status = 404
    default_code = "unknown_resource"


class Conflict(Refusal):
    default_code = "conflict"


class Stale(Refusal):
    status = 412
    default_code = "stale_version"


class NoCapacity(Refusal):
    default_code = "no_capacity"


class Unauthenticated(Refusal):
    status = 401
    default_code = "unauthenticated"


class Forbidden(Refusal):
    status = 403
    default_code = "forbidden"


class TooLarge(Refusal):
    status = 413
    default_code = "body_too_large"


class Failure(NanoError):
    status = 503
    default_code = "failed"


class Unreachable(Failure):
    default_code = "unreachable"


class DeadlineExceeded(Failure):
    status = 504
    default_code = "deadline_exceeded"


class HostError(Failure):
    status = 502
    default_code = "host_error"


class DiskFull(Failure):
    status = 507
    default_code = "disk_full"


class JournalError(Failure):
    default_code = "journal_unavailable"


class JournalDamaged(JournalError):
    default_code = "journal_damaged"
