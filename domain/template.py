"""System template: the virtual hardware that suits a kind of system, by name (features M20, M30).

A guest made with a template keeps that hardware and the template's name, whatever becomes of the template later. The five
that a zone has from its first start are the product's (nano-behaviour §5); they are changed and deleted like any other.
"""

from datetime import datetime
from typing import Final, Literal

import msgspec

from nano.domain.errors import Conflict, Invalid, Unknown
from nano.domain.facts import Command, Context, Emitted, Event, Model, Rules
from nano.domain.guest_size import check_hardware
from nano.domain.limits import LIMITS
from nano.domain.machine import Hardware
from nano.domain.naming import NAME_LENGTH_MAX, require_name, require_text
from nano.domain.security import SecurityPolicy, checked_policy

System = Literal["linux", "windows"]


class Template(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """``admin`` is the account that administers such a system. A guest made without a ``policy`` of its own gets this one."""

    id: str
    name: str
    admin: str
    operating_system: System
    hardware: Hardware
    created_at: datetime
    modified_at: datetime
    policy: SecurityPolicy | None = None


class TemplateCreated(Event, frozen=True, kw_only=True, tag="template.created"):
    id: str
    name: str
    admin: str
    operating_system: System
    hardware: Hardware
    policy: SecurityPolicy | None = None


class TemplateModified(Event, frozen=True, kw_only=True, tag="template.modified"):
    """This is what it says from now on."""

    name: str
    admin: str
    operating_system: System
    hardware: Hardware
    policy: SecurityPolicy | None = None


class TemplateDeleted(Event, frozen=True, tag="template.deleted"):
    pass


class CreateTemplate(Command, frozen=True, kw_only=True, tag="template.create"):
    """Name the virtual hardware, and the security policy, that suit a kind of system."""

    name: str
    admin: str = "root"
    operating_system: System = "linux"
    hardware: Hardware = Hardware()
    policy: SecurityPolicy | None = None


class HardwareChange(msgspec.Struct, frozen=True, gc=False):
    disk: str | None = None
    network: str | None = None
    display: str | None = None
    usb: str | None = None
    tablet: str | None = None


class ModifyTemplate(Command, frozen=True, kw_only=True, tag="template.modify"):
    """Change a template; what is left out stays. Guests that were made with it keep what they got."""

    template: str
    name: str | None = None
    admin: str | None = None
    operating_system: System | None = None
    hardware: HardwareChange = HardwareChange()
    policy: SecurityPolicy | None = None
    no_policy: bool = False  # guests made with it have only one of their own


class DeleteTemplate(Command, frozen=True, kw_only=True, tag="template.delete"):
    """Delete a template; guests that were made with it keep their hardware."""

    template: str


DEFAULTS: Final[tuple[tuple[str, str, System, Hardware], ...]] = (
    ("CentOS 7", "root", "linux", Hardware()),
    ("CentOS 6", "root", "linux", Hardware(disk="sata")),
    ("Windows Server 2012", "Administrator", "windows", Hardware(disk="sata", network="e1000")),
    ("General", "root", "linux", Hardware(disk="sata", network="rtl8139", usb="")),
    ("Legacy", "root", "linux", Hardware(disk="ide", network="rtl8139", display="cirrus", usb="", tablet="")),
)


def default_events(context: Context) -> list[Emitted]:
    """The five that a zone begins with."""
    return [
        _created(context.new_id(), CreateTemplate(name=name, admin=admin, operating_system=system, hardware=hardware))
        for name, admin, system, hardware in DEFAULTS
    ]


def find_template(model: Model, reference: str) -> Template:
    """By id or name. Raises Unknown(unknown_template)."""
    template = model.get(f"template/{reference}")
    if isinstance(template, Template):
        return template
    for candidate in model.of_kind("template"):
        if isinstance(candidate, Template) and candidate.name == reference:
            return candidate
    raise Unknown(
        f"There is no template {reference[:NAME_LENGTH_MAX]!r}.",
        code="unknown_template",
        hint="List templates to see their names.",
    )


def _created(template_id: str, command: CreateTemplate) -> Emitted:
    event = TemplateCreated(
        id=template_id,
        name=command.name,
        admin=command.admin,
        operating_system=command.operating_system,
        hardware=command.hardware,
        policy=checked_policy(command.policy) if command.policy is not None else None,
    )
    return Emitted(f"template/{template_id}", event)


def decide_create(model: Model, command: CreateTemplate, context: Context) -> list[Emitted]:
    held = sum(1 for _ in model.of_kind("template"))
    if held >= LIMITS.templates:
        raise Conflict(
            f"There are {held} templates already.", code="too_many_templates", hint="Delete some that nobody uses."
        )
    _check(model, command.name, command.admin, command.hardware, "")
    return [_created(context.new_id(), command)]


def decide_modify(model: Model, command: ModifyTemplate, context: Context) -> list[Emitted]:
    template = find_template(model, command.template)
    given = {name: value for name, value in msgspec.structs.asdict(command.hardware).items() if value is not None}
    if command.no_policy and command.policy is not None:
        raise Invalid(
            "It is to have a policy, and none.", code="invalid_no_policy", hint="Give one of them.", field="no_policy"
        )
    policy = None if command.no_policy else template.policy
    wanted = TemplateModified(
        name=template.name if command.name is None else command.name,
        admin=template.admin if command.admin is None else command.admin,
        operating_system=command.operating_system or template.operating_system,
        hardware=msgspec.structs.replace(template.hardware, **given),
        policy=checked_policy(command.policy) if command.policy is not None else policy,
    )
    if evolve_modified(template, wanted, template.modified_at) == template:
        return []
    _check(model, wanted.name, wanted.admin, wanted.hardware, template.id)
    return [Emitted(f"template/{template.id}", wanted)]


def decide_delete(model: Model, command: DeleteTemplate, context: Context) -> list[Emitted]:
    template = find_template(model, command.template)
    return [Emitted(f"template/{template.id}", TemplateDeleted())]


def _check(model: Model, name: str, admin: str, hardware: Hardware, own: str) -> None:
    if not name or name != name.strip() or "/" in name:
        raise Invalid(
            "A template needs a name.",
            code="invalid_name",
            hint="Use a word or a few, without '/', without blanks around them.",
            field="name",
        )
    require_text(name, "name", NAME_LENGTH_MAX)
    require_name(admin, "admin", dotted=True)
    check_hardware(hardware)
    for other in model.of_kind("template"):
        if isinstance(other, Template) and other.id != own and name in (other.name, other.id):
            raise Conflict(
                f"A template {name!r} exists already.", code="duplicate_name", hint="Choose another name.", field="name"
            )


def evolve_created(state: Template | None, event: TemplateCreated, at: datetime) -> Template:
    return Template(
        id=event.id,
        name=event.name,
        admin=event.admin,
        operating_system=event.operating_system,
        hardware=event.hardware,
        policy=event.policy,
        created_at=at,
        modified_at=at,
    )


def evolve_modified(state: Template, event: TemplateModified, at: datetime) -> Template:
    return msgspec.structs.replace(
        state,
        name=event.name,
        admin=event.admin,
        operating_system=event.operating_system,
        hardware=event.hardware,
        policy=event.policy,
        modified_at=at,
    )


def evolve_deleted(state: Template, event: TemplateDeleted, at: datetime) -> None:
    return None


RULES: Final = Rules(
    decide={CreateTemplate: decide_create, ModifyTemplate: decide_modify, DeleteTemplate: decide_delete},
    evolve={TemplateCreated: evolve_created, TemplateModified: evolve_modified, TemplateDeleted: evolve_deleted},
    states={"template": Template},
)
