"""Words of the command line that stand for fields of a command: how each field of a struct is written and read.

Sizes take MiB and GiB and become bytes. What is left out is not sent, so defaults live in one place, the domain.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from types import UnionType
from typing import Any, Final, Literal, NamedTuple, Union, get_args, get_origin

import msgspec

from nano.domain.errors import Invalid
from nano.domain.facts import Command
from nano.domain.naming import parse_size
from nano.domain.security import SecurityPolicy, read_policy

SIZE_FIELDS: Final = frozenset(
    {
        "memory",
        "memory_max",
        "disks",
        "disk",
        "size",
        "read_bytes",
        "write_bytes",
        "receive_bytes",
        "send_bytes",
    }
)


class Argument(NamedTuple):
    """``options`` empty = positional; a switch can be turned on, a flag on and off. ``completes`` names the kind whose
    names may stand here ("file" and "size" too)."""

    field: str
    options: tuple[str, ...]
    help: str
    metavar: str = ""
    kind: Literal["text", "size", "sizes", "int", "switch", "flag", "choice", "pairs", "texts", "policy"] = "text"
    completes: str = ""
    required: bool = False
    values: tuple[str, ...] = ()

    @property
    def attribute(self) -> str:
        """In argparse's namespace; ``--state`` is the state folder everywhere, so a filter must step aside."""
        return "in_state" if self.field == "state" else self.field


HELP: Final[dict[str, str]] = {
    "name": "name: letters, digits, '_' and '-'",
    "prefix": "what their names begin with: PREFIX_0, PREFIX_1 and so on",
    "count": "how many guests",
    "first": "number of the first one",
    "guests": "names or ids of the guests",
    "cores": "number of virtual cores",
    "memory": "memory, such as 512MiB or 2GiB",
    "cores_max": "cores it can grow to while it runs, 0 for no more than it has",
    "memory_max": "memory it can grow to while it runs, 0 for no more than it has",
    "priority": "share of its cell's cores",
    "read_bytes": "bytes a second each disk may read, such as 20MiB; 0 for no limit",
    "write_bytes": "bytes a second each disk may write; 0 for no limit",
    "read_operations": "read operations a second of each disk; 0 for no limit",
    "write_operations": "write operations a second of each disk; 0 for no limit",
    "receive_bytes": "bytes a second each network interface may take in; 0 for no limit",
    "send_bytes": "bytes a second each network interface may send; 0 for no limit",
    "disks": "size of a disk; again for each further disk, the first is the system disk",
    "disk": "disk space, such as 10GiB",
    "pool": "compute pool",
    "cell": "cell",
    "guest": "name or id of the guest",
    "to": "cell it is to move to",
    "live": "while it runs",
    "orphan": "id of the orphan, as the list has it",
    "snapshot": "name or id of the snapshot",
    "image": "disk image, by name or id",
    "file": "file for the picture, - for standard output",
    "template": "system template, by name or id",
    "cloud_init": "for its first start: user, password, ssh_keys, host_name, data_path, user_data … ; @FILE reads a file",
    "admin": "the account that administers such a system",
    "operating_system": "linux or windows",
    "media": "media image, by name or id",
    "format": "what the file is",
    "sha256": "digest of the whole file",
    "task": "id of the task; its beginning is enough",
    "every_hours": "a snapshot every so many hours",
    "keep": "how many of them are kept, the newest ones",
    "expire_hours": "delete them after so many hours, but never the newest; 0 for not",
    "with_memory": "with its memory, when it is on",
    "disks_only": "without its memory; its agent holds its file systems still meanwhile",
    "path": "file on the machine where Core runs",
    "storage": "storage pool; empty for local disks",
    "network": "address pool; empty for addresses Nano does not manage",
    "failover": "start guests elsewhere when a cell is lost",
    "enabled": "take new guests, or take none",
    "autostart": "start the guest whenever its cell starts",
    "linked": "lean on the image instead of copying it, where the pool allows",
    "linked_clones": "let disks lean on their cell's copy of an image",
    "start": "start it as soon as it is made",
    "hardware": "virtual hardware, such as disk=virtio or display=qxl",
    "hours": "how long it rests in the recycle bin before it is deleted; without it as Core is set, a week",
    "policy": "drop or accept what no rule is about; again for each rule: 'accept tcp 80-89 from 10.0.0.0/8', 'address"
    " 10.0.0.5'; @FILE reads lines of these",
    "needs": "what its host must be able to do, such as network_limits,packet_filter; see cell show",
    "unguarded": "let it send as other machines, as a router does",
    "guard": "on, or off for a router and the like",
    "no_policy": "guests made with it have only a policy of their own",
    "force": "also when it is running; to shrink: also if that loses data",
    "description": "a line that says what it is for",
    "user": "account inside the guest; without it the one that administers such a system",
    "password": "the password; @FILE reads a file, - standard input; without it one is made up",
    "notes": "notes of any length up to 4000 characters",
    "tags": "a tag; again for each further one, and empty for none",
    "tag": "only those with this tag",
    "number": "which disk: 0 is the system disk, 1 the first data disk",
    "size": "size of the disk, such as 10GiB",
    "mac": "MAC address of the network interface",
    "action": "accept or drop",
    "protocol": "tcp, udp, icmp, or any",
    "source": "only from this address or network, such as 10.0.0.0/8; empty for anybody",
    "port": "only to this port, 0 for every one",
    "last_port": "and to those up to this one",
    "rule": "number of the rule, as the list has it",
    "before": "number of the rule that comes after it; without it, it becomes the last",
    "place": "number that it is to have",
    "addresses": "an address that the guest may use; again for each further one, and none for any",
    "state": "only those in this state",
    "severity": "only those that are critical, or warning",
    "code": "only those with this code, such as disk_full",
    "node": "only those that this node found",
    "resource": "only those of this resource, such as guest/ID",
    "actor": "only what this user or node did",
    "command": "only what came of the request with this command id",
    "cause": "only what was done because of this, such as task/ID",
    "type": "only events of this type, such as guest.started",
    "at": "as it was at this position, or at this time: 2026-11-21T03:10:53Z",
    "kinds": "kinds of resources, separated by commas",
}
SPELLED: Final = {"disks": "disk", "number": "disk", "tags": "tag", "addresses": "address", "state": "in-state"}
COMPLETES: Final = {
    "pool": "compute_pool",
    "cell": "cell",
    "to": "cell",
    "guest": "guest",
    "guests": "guest",
    "image": "image",
    "template": "template",
    "media": "media",
    "task": "task",
    "path": "file",
    "memory": "size",
    "disks": "size",
    "disk": "size",
}


BARE: Final = (
    "name",
    "path",
    "prefix",
    "guests",
    "orphan",
    "rule",
    "place",
    "action",
    "guard",
)  # what a command is about stands without an option


def arguments_of(command: type[Command], path: str) -> tuple[Argument, ...]:
    """One argument per field: those in the path and the name come first and bare, the rest as options."""
    bare = [name for name in msgspec.structs.fields(command) if f"{{{name.name}}}" in path]
    bare += [field for field in msgspec.structs.fields(command) if field.name in BARE and _required(field)]
    rest = [field for field in msgspec.structs.fields(command) if field not in bare]
    return (*(_positional(field) for field in bare), *(_option(field) for field in rest))


def _positional(field: msgspec.structs.FieldInfo) -> Argument:
    name = field.name
    metavar = {"path": "FILE", "guests": "GUEST"}.get(name, name.upper())
    kind: Any = "texts" if get_origin(field.type) is tuple else "int" if field.type is int else "text"
    values: tuple[str, ...] = ()
    if get_origin(field.type) is Literal:
        kind, values = "choice", get_args(field.type)
    return Argument(name, (), HELP.get(name, name), metavar, kind, COMPLETES.get(name, ""), True, values)


def _option(field: msgspec.structs.FieldInfo) -> Argument:
    name = field.name
    spelled = f"--{SPELLED.get(name, name).replace('_', '-')}"
    kind, metavar = _kind_of(field)
    values = get_args(_declared(field)) if kind == "choice" else _lists(field) if kind == "pairs" else ()
    return Argument(
        name, (spelled,), HELP.get(name, name), metavar, kind, COMPLETES.get(name, ""), _required(field), values
    )


def _lists(field: msgspec.structs.FieldInfo) -> tuple[str, ...]:
    return tuple([part.name for part in msgspec.structs.fields(_declared(field)) if get_origin(part.type) is tuple])


def _required(field: msgspec.structs.FieldInfo) -> bool:
    return field.default is msgspec.NODEFAULT and field.default_factory is msgspec.NODEFAULT


def _declared(field: msgspec.structs.FieldInfo) -> Any:
    """Its type, without the None that stands for what is left out."""
    declared = field.type
    if get_origin(declared) in (Union, UnionType):
        declared = next(part for part in get_args(declared) if part is not type(None))
    return declared


def _kind_of(field: msgspec.structs.FieldInfo) -> tuple[Any, str]:
    declared = _declared(field)
    if get_origin(declared) is Literal:
        return "choice", field.name.upper()
    if declared is bool:
        return ("flag" if field.default is None else "switch"), ""
    if field.name in SIZE_FIELDS:
        return ("sizes" if get_origin(declared) is tuple else "size"), "SIZE"
    if declared is int:
        return "int", "N"
    if declared is SecurityPolicy:
        return "policy", "RULE"
    if isinstance(declared, type) and issubclass(declared, msgspec.Struct):
        return "pairs", "KEY=VALUE"
    if get_origin(declared) is tuple:
        return "texts", field.name.upper()
    return "text", field.name.upper()


def query_argument(name: str) -> Argument:
    """A parameter of a query as an option."""
    kind: Any = "size" if name in SIZE_FIELDS else "int" if name in ("cores", "limit") else "text"
    metavar = {"size": "SIZE", "int": "N"}.get(kind, name.upper())
    spelled = f"--{SPELLED.get(name, name).replace('_', '-')}"
    return Argument(name, (spelled,), HELP.get(name, name), metavar, kind, COMPLETES.get(name, ""))


def add_argument(parser: argparse.ArgumentParser, argument: Argument) -> None:
    """Tell argparse; what is not given leaves no attribute."""
    words: dict[str, Any] = {"help": argument.help, "default": argparse.SUPPRESS}
    if argument.kind == "flag":
        words["action"] = argparse.BooleanOptionalAction
    elif argument.kind == "switch":
        words["action"] = "store_true"
    else:
        words["metavar"] = argument.metavar or argument.field.upper()
    if argument.kind in _READERS:
        words["type"] = _READERS[argument.kind]
    if argument.kind in ("sizes", "pairs", "texts", "policy"):
        words |= {"action": "append"} if argument.options else {"nargs": "+"}
    if argument.kind == "choice":
        words["choices"] = argument.values
    if argument.options:
        parser.add_argument(*argument.options, dest=argument.attribute, required=argument.required, **words)
    else:
        del words["default"]
        parser.add_argument(argument.attribute, **words)


def fields_in(namespace: argparse.Namespace, arguments: tuple[Argument, ...]) -> dict[str, Any]:
    """The fields that were given, as JSON values."""
    given: dict[str, Any] = {}
    for argument in arguments:
        if (value := getattr(namespace, argument.attribute, None)) is not None:
            gather = _GATHERERS.get(argument.kind)
            given[argument.field] = gather(value, argument.values) if gather is not None else value
    return given


def _gathered(pairs: list[tuple[str, str]], lists: tuple[str, ...]) -> dict[str, Any]:
    """An object of KEY=VALUE words; keys in ``lists`` may come again, and a value "@FILE" is what the file holds."""
    found: dict[str, Any] = {}
    for name, told in pairs:
        value = _from_file(told[1:]) if told.startswith("@") else told
        if name in lists:
            found.setdefault(name, []).extend([value] if told == value else value.splitlines())
        else:
            found[name] = value if "\n" in value.strip() else value.rstrip("\n")
    return found


def _policy(lines: list[str], _: tuple[str, ...]) -> dict[str, Any]:
    """A security policy, of what stands in the lines, or in the file "@FILE"."""
    told = [one for line in lines for one in (_from_file(line[1:]).splitlines() if line.startswith("@") else [line])]
    read: dict[str, Any] = msgspec.to_builtins(read_policy(told))
    return read


_GATHERERS: Final[dict[str, Callable[[Any, tuple[str, ...]], Any]]] = {"pairs": _gathered, "policy": _policy}


def _from_file(name: str) -> str:
    try:
        return Path(name).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"{name} can't be read: {error}.", code="unreadable_file", hint="Name a file of text.") from error


def read_size(text: str) -> int:
    try:
        return parse_size(text)
    except Invalid as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _read_pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return name, value


def _read_int(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from error


_READERS: Final[dict[str, Callable[[str], Any]]] = {
    "size": read_size,
    "sizes": read_size,
    "int": _read_int,
    "pairs": _read_pair,
}
