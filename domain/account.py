"""Account: a person who may use the portal (features M45, M46). FrontEnd owns accounts; Core only hears their names.

The first account is the administrator, and only while there is none: that is decided here, so two browsers on the
welcome page can't both win. Passwords never come here: only their argon2id hashes, made outside. What a password must be
is said by ``require_password`` and asked by whoever makes the hash.
"""

from datetime import datetime
from typing import Final, Literal

import msgspec

from nano.domain.errors import Conflict, Invalid, Unknown
from nano.domain.facts import Command, Context, Emitted, Event, Model
from nano.domain.naming import require_name

Role = Literal["administrator", "operator", "reader"]
PASSWORD_LENGTH_MIN: Final = 8  # feature M46
PASSWORD_LENGTH_MAX: Final = 256  # a longer one only costs time to hash


class Account(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    role: Role
    password_hash: str
    created_at: datetime
    password_changed_at: datetime


class AccountCreated(Event, frozen=True, kw_only=True, tag="account.created"):
    name: str
    role: Role
    password_hash: str


class AccountPasswordChanged(Event, frozen=True, tag="account.password_changed"):
    password_hash: str


class CreateFirstAccount(Command, frozen=True, kw_only=True, tag="account.create_first"):
    """Make the administrator of a portal that has no account yet."""

    name: str
    password_hash: str


class ChangePassword(Command, frozen=True, kw_only=True, tag="account.change_password"):
    """Give an account another password. Every other session of it is closed; ``keep`` is the one that asked."""

    name: str
    password_hash: str
    keep: str = ""


def unmet_rules(password: str) -> tuple[str, ...]:
    """Which parts of rule M46 a password misses: any of length, digit, lower, upper; empty = none."""
    rules = (
        ("length", PASSWORD_LENGTH_MIN <= len(password) <= PASSWORD_LENGTH_MAX),
        ("digit", any(letter in "0123456789" for letter in password)),
        ("lower", any(letter.islower() for letter in password)),
        ("upper", any(letter.isupper() for letter in password)),
    )
    return tuple(name for name, met in rules if not met)


def require_password(password: str) -> str:
    """The password itself. Raises Invalid(weak_password), whose context names the unmet rules and never the password."""
    if missing := unmet_rules(password):
        raise Invalid(
            "The password does not meet the rule.",
            code="weak_password",
            hint=f"Use {PASSWORD_LENGTH_MIN} to {PASSWORD_LENGTH_MAX} characters "
            "with a digit, a lower case and an upper case letter.",
            field="password",
            missing=list(missing),
        )
    return password


def account_named(model: Model, name: str) -> Account:
    account = model.get(f"account/{name}")
    if not isinstance(account, Account):
        raise Unknown(f"There is no account {name!r}.", code="unknown_account", hint="Check the spelling.")
    return account


def decide_create_first(model: Model, command: CreateFirstAccount, context: Context) -> list[Emitted]:
    name = require_name(command.name, "account name")
    if next(model.of_kind("account"), None) is not None:
        raise Conflict(
            "This portal has its administrator already.", code="already_set_up", hint="Log in with that account."
        )
    event = AccountCreated(name=name, role="administrator", password_hash=command.password_hash)
    return [Emitted(f"account/{name}", event)]


def evolve_created(state: Account | None, event: AccountCreated, at: datetime) -> Account:
    return Account(
        name=event.name, role=event.role, password_hash=event.password_hash, created_at=at, password_changed_at=at
    )


def evolve_password_changed(state: Account, event: AccountPasswordChanged, at: datetime) -> Account:
    return msgspec.structs.replace(state, password_hash=event.password_hash, password_changed_at=at)
