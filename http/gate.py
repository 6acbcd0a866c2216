"""The rights gate: one function in front of every route, and it says no unless the catalogue says yes.

A credential has a role; the role ``frontend`` has no rights of its own and acts for the user named in the signed
headers ``Nano-Actor`` and ``Nano-Role``, with that role and never more. Who acted is what the journal records.
"""

import re
from typing import Final

import msgspec

from nano.domain.catalogue import RIGHTS_OF_ROLE, Right
from nano.domain.errors import Forbidden
from nano.http.credentials import FRONTEND
from nano.http.verifier import Verified

_ACTOR: Final = re.compile(r"[0-9A-Za-z_.-]{1,64}")


class Principal(msgspec.Struct, frozen=True):
    """``actor`` is written on facts; ``credential`` is what signed; ``role`` one of RIGHTS_OF_ROLE."""

    actor: str
    credential: str
    role: str

    @property
    def scope(self) -> str:
        """Where this principal's idempotency keys are its own."""
        return self.credential if self.actor == self.credential else f"{self.credential}/{self.actor}"


NOBODY: Final = Principal("", "", "")


def principal_of(verified: Verified) -> Principal:
    """Raises Forbidden(actor_required, actor_not_allowed, invalid_actor)."""
    credential = verified.credential
    if credential.role != FRONTEND:
        if verified.actor or verified.role:
            raise Forbidden(
                f"Credential {credential.id} may not act for somebody else.",
                code="actor_not_allowed",
                hint="Leave out Nano-Actor and Nano-Role.",
            )
        return Principal(credential.id, credential.id, credential.role)
    if not verified.actor or not verified.role:
        raise Forbidden(
            f"Credential {credential.id} has no rights of its own.",
            code="actor_required",
            hint="Name the user in Nano-Actor and the user's role in Nano-Role, both signed.",
        )
    if not _ACTOR.fullmatch(verified.actor) or verified.role not in RIGHTS_OF_ROLE:
        raise Forbidden(
            "Nano-Actor or Nano-Role is not one there can be.",
            code="invalid_actor",
            hint=f"An actor is 1 to 64 of [0-9A-Za-z_.-], a role one of {', '.join(RIGHTS_OF_ROLE)}.",
        )
    return Principal(verified.actor, credential.id, verified.role)


def authorize(principal: Principal, right: Right) -> None:
    """Raises Forbidden(forbidden) unless the principal's role has the right."""
    if right not in RIGHTS_OF_ROLE.get(principal.role, frozenset()):
        raise Forbidden(
            f"{principal.actor} is {principal.role} and may not do this.",
            hint=f"It needs the right to {right}.",
            right=right,
            role=principal.role,
        )
