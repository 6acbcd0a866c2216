"""Security rules of a guest: forms that add, change, move and remove one, the default action, and the guest's addresses."""

from typing import Any, Final

from nano.domain.security import PORT_MAX, RULES_MAX
from nano.ui.mirror import Row
from nano.ui.pages.forms import whole_in
from nano.ui.pages.guest_parts import Ask, Form, Part
from nano.ui.words import N_


def _add(guest: Row, form: Form) -> Ask:  # noqa: ARG001
    return Ask("POST", "/rules", _rule(form))


def _modify(guest: Row, form: Form) -> Ask:  # noqa: ARG001
    return Ask("PATCH", "/rules", {"rule": _number(form, "rule"), **_rule(form)})


def _remove(guest: Row, form: Form) -> Ask:  # noqa: ARG001
    return Ask("DELETE", "/rules", params={"rule": str(_number(form, "rule"))})


def _move(guest: Row, form: Form) -> Ask:  # noqa: ARG001
    return Ask("POST", "/rules/move", {"rule": _number(form, "rule"), "place": _number(form, "place")})


def _default(guest: Row, form: Form) -> Ask:  # noqa: ARG001
    return Ask("POST", "/rules/default", {"action": form.get("action", "")})


def _addresses(guest: Row, form: Form) -> Ask | None:
    wanted = form.get("addresses", "").replace(",", " ").split()
    held = (guest["security"]["addresses"] if guest["security"] else []) or guest["own_addresses"]
    return Ask("POST", "/rules/addresses", {"addresses": wanted}) if wanted != held else None


def _guard(guest: Row, form: Form) -> Ask:  # noqa: ARG001
    return Ask("POST", "/rules/guard", {"guard": form.get("guard", "")})


def _rule(form: Form) -> dict[str, Any]:
    ports = {field: whole_in(form.get(field, "").strip() or "0", field, PORT_MAX, 0) for field in ("port", "last_port")}
    words = {"action": form.get("action", ""), "protocol": form.get("protocol", "")}
    return {**words, "source": form.get("source", "").strip(), **ports}


def _number(form: Form, field: str) -> int:
    return whole_in(form.get(field, ""), field, RULES_MAX)


RULE_PARTS: Final[dict[str, Part]] = {
    "rule-add": Part("rules", _add, N_("%(name)s is being given a security rule")),
    "rule-modify": Part("rules", _modify, N_("A security rule of %(name)s is being changed")),
    "rule-remove": Part("rules", _remove, N_("A security rule of %(name)s is being removed")),
    "rule-move": Part("rules", _move, N_("The order of the security rules of %(name)s is being changed")),
    "rule-default": Part("rules", _default, N_("The security rules of %(name)s are being changed")),
    "rule-guard": Part("rules", _guard, N_("Whether %(name)s may pose as others is being changed")),
    "rule-addresses": Part("rules", _addresses, N_("The addresses of %(name)s are being changed")),
}


def shown(guest: Row) -> dict[str, dict[str, str]]:
    """What the panel's forms begin with."""
    empty = {"action": "accept", "protocol": "tcp", "source": "", "port": "", "last_port": ""}
    held = (guest["security"]["addresses"] if guest["security"] else []) or guest["own_addresses"]
    return {"rule-add": empty, "rule-modify": {}, "rule-addresses": {"addresses": ", ".join(held)}}
