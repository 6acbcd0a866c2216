"""Rights: what the catalogue does not give, nobody has."""

import pytest

from nano.domain.catalogue import COMMANDS, QUERIES, RIGHTS_OF_ROLE
from nano.domain.errors import Forbidden
from nano.http.credentials import Credential
from nano.http.gate import NOBODY, Principal, authorize, principal_of
from nano.http.verifier import Verified

KEY = "0123456789abcdef"


def verified(role: str, actor: str = "", acting: str = "") -> Verified:
    return Verified(Credential("c", KEY, role), "00", actor, acting)


def test_everything_reachable_needs_a_right() -> None:
    for entry in (*COMMANDS, *QUERIES):
        with pytest.raises(Forbidden):
            authorize(NOBODY, entry.right)
        with pytest.raises(Forbidden):
            authorize(Principal("x", "x", "unheard-of"), entry.right)


def test_roles_have_what_the_catalogue_says() -> None:
    for role, rights in RIGHTS_OF_ROLE.items():
        for right in ("read", "operate", "administer"):
            if right in rights:
                authorize(Principal("x", "x", role), right)
            else:
                with pytest.raises(Forbidden) as refused:
                    authorize(Principal("x", "x", role), right)
                assert refused.value.code == "forbidden"


def test_a_credential_is_its_own_actor() -> None:
    principal = principal_of(verified("operator"))
    assert (principal.actor, principal.role, principal.scope) == ("c", "operator", "c")


def test_frontend_acts_for_a_user_with_that_role() -> None:
    principal = principal_of(verified("frontend", "li", "operator"))
    assert (principal.actor, principal.role, principal.scope) == ("li", "operator", "c/li")


@pytest.mark.parametrize(
    ("role", "actor", "acting", "code"),
    [
        ("administrator", "li", "operator", "actor_not_allowed"),
        ("reader", "", "administrator", "actor_not_allowed"),
        ("frontend", "", "", "actor_required"),
        ("frontend", "li", "", "actor_required"),
        ("frontend", "", "administrator", "actor_required"),
        ("frontend", "li", "frontend", "invalid_actor"),
        ("frontend", "li", "king", "invalid_actor"),
        ("frontend", "a b", "operator", "invalid_actor"),
        ("frontend", "x" * 65, "operator", "invalid_actor"),
        ("frontend", "a/b", "operator", "invalid_actor"),
    ],
)
def test_nobody_acts_beyond_that(role: str, actor: str, acting: str, code: str) -> None:
    with pytest.raises(Forbidden) as refused:
        principal_of(verified(role, actor, acting))
    assert refused.value.code == code
