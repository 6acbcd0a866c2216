"""Who sent this request: the signature checked, then hardened by a clock window and a memory of used signatures.

Rules of v2: ``Nano-Date`` lies within ±WINDOW_S of Core's clock and in a scope of about today; every signature is good
once; headers that say for whom or by which method (``Nano-Actor``, ``Nano-Role``, ``Nano-Method``) count only when
signed. All failures are ``Unauthenticated``. Nothing is remembered of a request whose signature is wrong.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Final

from nano.domain.errors import Unauthenticated
from nano.http import signing
from nano.http.credentials import Credential, Credentials
from nano.http.replay_memory import ReplayMemory

WINDOW_S: Final = 300.0
ACTOR: Final = b"nano-actor"
ROLE: Final = b"nano-role"
_MUST_BE_SIGNED: Final = (ACTOR, ROLE, signing.SIGNED_METHOD)
_SUFFIX: Final = signing.SCOPE_SUFFIX.encode()


class Verified:
    """``signature`` in hex. ``actor`` and ``role`` are what the signed headers claim; the gate decides about them."""

    __slots__ = ("actor", "credential", "role", "signature")

    def __init__(self, credential: Credential, signature: str, actor: str, role: str) -> None:
        self.credential = credential
        self.signature = signature
        self.actor = actor
        self.role = role


class Verifier:
    """``hardened`` False keeps to the product's own rules: the same calendar day, no memory of signatures."""

    def __init__(
        self,
        credentials: Credentials,
        clock: Callable[[], datetime],
        *,
        memory: ReplayMemory | None = None,
        hardened: bool = True,
    ) -> None:
        self._credentials = credentials
        self._hardened = hardened
        self._clock = clock
        self._memory = memory or ReplayMemory(WINDOW_S)
        self._days: frozenset[bytes] = frozenset()
        self._today = date.min

    def verify(
        self, method: str, raw_path: bytes, query: bytes, headers: signing.Headers, body: bytes | None
    ) -> Verified:
        """``body`` None = a stream, whose bytes are not signed. Raises Unauthenticated."""
        value = headers.get(signing.AUTHORIZATION)
        if value is None:
            raise Unauthenticated(
                "The request is not signed.",
                code="signature_missing",
                hint="Sign it with a key of Core's credentials.toml; nanoctl does so by itself.",
            )
        authorization = signing.parse_authorization(value)
        credential = self._credentials.get(authorization.credential)
        if credential is None:
            raise Unauthenticated(
                "No credential has this id.", code="unknown_credential", hint="Look at the ids in credentials.toml."
            )
        now = self._clock()
        moment = self._check_time(headers, authorization, now)
        digest = None if body is None else signing.body_digest(method, body)
        if not signing.matches(
            authorization, credential.secret, raw_path=raw_path, query=query, headers=headers, body_sha256=digest
        ):
            raise Unauthenticated(
                "The signature does not fit the request.",
                code="signature_invalid",
                hint="Check the key, and that nothing on the way changes path, query, signed headers or body.",
            )
        if self._hardened:
            self._check_headers(method, headers, authorization)
            self._memory.admit(authorization.signature, moment.timestamp(), now.timestamp())
        actor = headers.get(ACTOR, b"").decode("latin-1").strip()
        role = headers.get(ROLE, b"").decode("latin-1").strip()
        return Verified(credential, authorization.signature.decode("latin-1"), actor, role)

    def _check_time(self, headers: signing.Headers, authorization: signing.Authorization, now: datetime) -> datetime:
        try:
            moment = datetime.fromisoformat(headers.get(signing.DATE, b"").decode().strip())
            aware = moment.tzinfo is not None and moment.timestamp() >= 0
        except (ValueError, OverflowError):
            aware = False
        if not aware:
            raise Unauthenticated(
                "The header Nano-Date is missing or not a time with its offset.",
                code="signature_malformed",
                hint="Write the time as RFC 3339 has it: 2026-11-21T03:10:53.123456Z.",
            )
        shown = headers.get(signing.SCOPE)
        today = authorization.scope in self._scopes(now) if self._hardened else True
        if not today or (shown is not None and shown.strip() != authorization.scope):
            raise Unauthenticated(
                "The scope of the signature is not that of today.",
                code="signature_scope",
                hint=f"Use <YYYYMMDD>{signing.SCOPE_SUFFIX} with the day of Nano-Date, in both headers.",
            )
        age = (now - moment).total_seconds()
        if abs(age) > WINDOW_S if self._hardened else moment.date() != now.date():
            raise Unauthenticated(
                f"The request was signed {abs(age):.0f} seconds {'ago' if age > 0 else 'ahead'}.",
                code="signature_expired",
                hint=f"Sign within {WINDOW_S:.0f} seconds, and set this machine's clock.",
            )
        return moment

    def _scopes(self, now: datetime) -> frozenset[bytes]:
        """Of yesterday, today and tomorrow: the signer's day is that of its own time zone."""
        today = now.astimezone(UTC).date()
        if today != self._today:
            days = (today + timedelta(days=offset) for offset in (-1, 0, 1))
            self._days = frozenset(f"{day:%Y%m%d}".encode() + _SUFFIX for day in days)
            self._today = today
        return self._days

    def _check_headers(self, method: str, headers: signing.Headers, authorization: signing.Authorization) -> None:
        for name in _MUST_BE_SIGNED:
            if name in headers and name not in authorization.signed:
                raise Unauthenticated(
                    f"The header {name.decode()} is not among the signed headers.",
                    code="header_not_signed",
                    hint="Name it in SignedHeaders.",
                    header=name.decode(),
                )
        signed_method = headers.get(signing.SIGNED_METHOD)
        if signed_method is not None and signed_method.strip() != method.encode():
            raise Unauthenticated(
                "The request was signed for another method.", code="signature_invalid", hint="Sign it anew."
            )
