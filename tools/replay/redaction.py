"""Redaction: names, people, addresses and paths replaced by pseudonyms, so that a journal can be shown to others.

A pseudonym is a keyed digest: the same value gets the same one everywhere in a bundle (and in another bundle made with the
same key), and nobody without the key can try values. Structure stays: ids, positions, times, sizes, kinds, states, how
deep a path is, what an address is like. Free text (reasons, error messages) keeps its words but for names that occur in
the journal and whatever looks like an address, path, host or node; so look at it before it leaves the house.
"""

import hmac
import ipaddress
import re
from hashlib import sha256
from typing import Any, Final

import msgspec

from nano.tools.replay.facts import HIDDEN

NAMES: Final = frozenset(
    {"name", "names", "image_name", "template", "target_name", "resource_name", "owner", "pool", "cell", "account", "by", "actor",
     "storage", "network", "file"}
)  # fmt: skip
WORDS: Final = frozenset(
    {"type", "state", "phase", "power", "kind", "action", "outcome", "role", "format", "virt_type", "code", "plan"}
)  # a closed choice of Nano's own; never a name
WHOLE: Final = frozenset({"hardware", "steps"})  # parts whose names are Nano's own
DIGESTS: Final = frozenset({"fingerprint", "sha256"})
REFERENCES: Final = frozenset({"target", "resource", "upstream"})
KEPT: Final = frozenset(
    {"", "core", "cell", "frontend", "hypervisor", "nanoctl", "default", "zone", "guest", "task", "order", "domain",
     "image", "login", "failures", "debt", "system", "nobody"}
)  # fmt: skip
_NODE: Final = r"(?:Core|Cell|FrontEnd)_[0-9a-f]{12}"
_UUID: Final = re.compile(r"(?:debt\.)?[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?:[./].*)?")
_TEXT: Final = re.compile(
    r"(?P<url>\b[a-z][a-z0-9+.-]*://\S+)"
    r"|(?P<mail>[\w.+-]+@[\w-]+(?:\.[\w-]+)+)"
    r"|(?P<mac>\b[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}\b)"
    r"|(?P<six>(?<![\w:.])[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7}(?![\w:]))"
    r"|(?P<four>\b\d{1,3}(?:\.\d{1,3}){3}\b)"
    r"|(?P<path>(?<![\w/<])(?:/[\w.@+-]+)+)"
    rf"|(?P<node>\b{_NODE}\b)"
    r"|(?P<host>\b(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,}\b)"
    r"|(?P<word>[0-9A-Za-z_][0-9A-Za-z_.-]*)"
)
_SYSTEM_PATHS: Final = ("/dev/", "/proc/", "/sys/")


class Redactor:
    """``learn`` from everything first, then ``event``, ``state`` and the rest; all of them are pure then."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._names: set[str] = set()

    # ------------------------------------------------------------------ what is a name

    def learn(self, resource: str, value: Any) -> None:
        """Names that this event or state gives, and the resource's own where its id is one."""
        identifier = resource.partition("/")[2]
        if not _UUID.fullmatch(identifier):
            self._learn(identifier)
        self._learn_from(value, "")

    def learn_actor(self, actor: str) -> None:
        self._learn(actor.partition("/")[2] if "/" in actor else actor)

    def _learn_from(self, value: Any, kind: str) -> None:
        if isinstance(value, dict):
            kind = str(value.get("type", kind))
            for field, inner in value.items():
                if field in NAMES and isinstance(inner, str):
                    if not kind.startswith("task.step"):
                        self._learn(inner)
                elif field == "names":
                    for name in inner:
                        self._learn(name)
                elif field not in WHOLE:
                    self._learn_from(inner, kind)
        elif isinstance(value, list):
            for inner in value:
                self._learn_from(inner, kind)

    def _learn(self, name: str) -> None:
        if name not in KEPT and not name.startswith("task.step"):
            self._names.add(name)

    # ------------------------------------------------------------------ parts of a line

    def name(self, name: str) -> str:
        if name in KEPT:
            return name
        if re.fullmatch(_NODE, name):
            return f"{name.partition('_')[0]}_{self._digest(name, 12)}"
        if "/" in name:  # an actor that is a node: cell/<name>
            return self.resource(name)
        return f"name-{self._digest(name, 8)}"

    def resource(self, resource: str) -> str:
        kind, slash, identifier = resource.partition("/")
        if not slash or identifier in KEPT or _UUID.fullmatch(identifier):
            return resource
        return f"{kind}/{self.name(identifier)}"

    def cause(self, cause: str) -> str:
        resource, at, position = cause.partition("@")
        return f"{self.resource(resource)}{at}{position}"

    def command(self, command: str) -> str:
        """Scope and key of a request; ids that Nano made itself are built of others' and stay what they are."""
        if not command or _UUID.match(command):
            return command
        scope, colon, key = command.partition(":")
        if not colon:
            return self._text(command)
        told = "/".join(self.name(part) for part in scope.split("/"))
        return f"{told}:{'~' if key.startswith('~') else ''}{self._digest(key, 32)}"

    def digest(self, digest: str) -> str:
        return self._digest(digest, len(digest)) if digest else ""

    def value(self, value: Any, field: str = "", kind: str = "") -> Any:
        """An event or a state, or a part of one."""
        if isinstance(value, dict):
            kind = str(value.get("type", kind))
            return {name: self.value(inner, name, kind) for name, inner in value.items() if name not in WHOLE} | {
                name: self._part(value[name], kind) for name in value if name in WHOLE
            }
        if isinstance(value, list):
            return [self.value(inner, field, kind) for inner in value]
        return self._leaf(value, field, kind) if isinstance(value, str) else value

    def _part(self, value: Any, kind: str) -> Any:
        """Of a task's steps only the free text; hardware models as they are."""
        if isinstance(value, list):
            return [{**step, "detail": self.value(step.get("detail", ""), "detail", kind)} for step in value]
        return value

    def _leaf(self, value: str, field: str, kind: str) -> str:
        if not value or field in WORDS or (kind == "session.closed" and field == "reason"):
            return value
        if field in HIDDEN or field in DIGESTS:
            return self._digest(value, min(len(value), 64))
        if field in REFERENCES:
            return self.resource(value)
        if field == "command_id":
            return self.command(value)
        if field in NAMES:
            return value if kind.startswith("task.step") else self.name(value)
        return self._text(value)

    # ------------------------------------------------------------------ texts

    def _text(self, text: str) -> str:
        return text if _UUID.fullmatch(text) else _TEXT.sub(self._found, text)

    def _found(self, match: re.Match[str]) -> str:
        found = match.group()
        match match.lastgroup:
            case "url":
                return f"{found.partition(':')[0]}://host-{self._digest(found, 8)}"
            case "mail" | "host":
                return found if found.partition(".")[0] in KEPT else f"host-{self._digest(found, 8)}"
            case "mac":
                digits = self._digest(found.lower(), 10)
                return "02:" + ":".join(digits[at : at + 2] for at in range(0, 10, 2))
            case "four" | "six":
                return self._address(found)
            case "path":
                return found if found.startswith(_SYSTEM_PATHS) else self._path(found)
            case "node":
                return self.name(found)
            case _:
                word = found.rstrip(".-")
                return self.name(word) + found[len(word) :] if word in self._names else found

    def _address(self, text: str) -> str:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return text
        if address.is_unspecified:
            return text
        digits = bytes.fromhex(self._digest(address.compressed, 32))
        if address.version == 4:
            return f"{127 if address.is_loopback else 10}.{digits[0]}.{digits[1]}.{digits[2]}"
        return "::1" if address.is_loopback else str(ipaddress.IPv6Address(b"\xfd" + digits[:15]))

    def _path(self, path: str) -> str:
        """As deep as it was, with the last part's ending."""
        *folders, last = path.split("/")[1:]
        stem, dot, ending = last.rpartition(".")
        told = [f"dir-{self._digest(folder, 6)}" for folder in folders]
        told.append(f"file-{self._digest(stem, 6)}.{ending}" if dot and stem else f"file-{self._digest(last, 6)}")
        return "/" + "/".join(told)

    def _digest(self, value: str, length: int) -> str:
        return hmac.new(self._key, value.encode(), sha256).hexdigest()[:length]


def redact_raw(redactor: Redactor, event: msgspec.Raw) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(redactor.value(msgspec.json.decode(event))))
