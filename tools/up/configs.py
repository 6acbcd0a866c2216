"""The settings files of the three nodes, as ``up`` needs them on one machine.

The nodes' own commented defaults are the text; only values are replaced in it, so what a user reads and edits afterwards is
what the node documents. A file that is there already is the user's: only what depends on the state folder's place, and
ports that were asked for, is written into it again.
"""

import hashlib
import json
import re
import tomllib
from pathlib import Path
from typing import Any, Final

import msgspec

from nano.cell.settings import DEFAULTS as CELL_DEFAULTS
from nano.core.settings import DEFAULTS as CORE_DEFAULTS
from nano.tools.state import make_node_folders, node_folder
from nano.ui.settings import DEFAULTS as FRONTEND_DEFAULTS

CREDENTIAL: Final = "core-credential.toml"  # beside frontend.toml: the one credential FrontEnd signs with
DEFAULTS: Final = {"core": CORE_DEFAULTS, "cell": CELL_DEFAULTS, "frontend": FRONTEND_DEFAULTS}

Value = str | int | float | bool
Values = dict[tuple[str, str], Value]  # (table, key)


class Ports(msgspec.Struct, frozen=True):
    """The product's own ports, or five in a row from a base. 0 = the node takes a free one of its range."""

    api: int = 5850
    portal: int = 5870
    image: int = 0
    link: int = 0
    discovery: int = 5599

    @classmethod
    def from_base(cls, base: int) -> "Ports":
        return cls(api=base, portal=base + 1, image=base + 2, link=base + 3, discovery=base + 4)


def write_configs(state: Path, hypervisor_uri: str, bridge: str, ports: Ports | None) -> Ports:
    """Make or complete ``config/<node>.toml`` of each node. ``ports`` None keeps what is configured; what now counts."""
    chosen = ports or Ports()
    port_values: dict[str, Values] = {
        "core": {
            ("listen", "api_port"): chosen.api,
            ("listen", "image_port"): chosen.image,
            ("listen", "link_port"): chosen.link,
        },
        "cell": {},
        "frontend": {("listen", "port"): chosen.portal},
    }
    for node in DEFAULTS:
        port_values[node]["domain", "port"] = chosen.discovery
    always: dict[str, Values] = {
        "core": {},
        "cell": {("hypervisor", "uri"): hypervisor_uri, ("hypervisor", "bridge"): bridge},
        "frontend": {("core", "key_file"): str(node_folder(state, "frontend") / "config" / CREDENTIAL)},
    }
    # One machine that also does its user's work: busy cores are no reason to refuse a guest here.
    first: dict[str, Values] = {
        "core": {("placement", "cpu_percent_busy"): 100.0},
        "cell": {("cell", "name"): cell_name(state)},
        "frontend": {},
    }
    for node, defaults in DEFAULTS.items():
        folder = node_folder(state, node)
        make_node_folders(folder)
        path = folder / "config" / f"{node}.toml"
        new = not path.exists()
        values = dict(always[node])
        if new or ports:
            values |= port_values[node]
        if new:
            values |= first[node]
        text = defaults if new else path.read_text()
        changed = set_values(text, values)
        if new or changed != text:
            path.write_text(changed)
    return configured_ports(state)


def configured_ports(state: Path) -> Ports:
    """The ports in the settings files; the usual ones where there are none yet."""
    core, frontend = _settings(state, "core"), _settings(state, "frontend")
    listen, usual = core.get("listen", {}), Ports()
    return Ports(
        api=listen.get("api_port", usual.api),
        portal=frontend.get("listen", {}).get("port", usual.portal),
        image=listen.get("image_port", usual.image),
        link=listen.get("link_port", usual.link),
        discovery=core.get("domain", {}).get("port", usual.discovery),
    )


def _settings(state: Path, node: str) -> dict[str, Any]:
    path = node_folder(state, node) / "config" / f"{node}.toml"
    return tomllib.loads(path.read_text()) if path.exists() else {}


def configured_cell_name(state: Path) -> str:
    return str(_settings(state, "cell").get("cell", {}).get("name", "")) or cell_name(state)


def cell_name(state: Path) -> str:
    """The product names cells after a MAC address; several zones on one machine need several names."""
    machine = Path("/etc/machine-id")
    identity = (machine.read_bytes() if machine.exists() else b"") + str(state).encode()
    return f"Cell_{hashlib.sha256(identity).hexdigest()[:12]}"


def bridge_name(state: Path) -> str:
    """Of this state folder's own bridge: at most 15 characters, the kernel's limit."""
    return f"nano-{hashlib.sha256(str(state).encode()).hexdigest()[:8]}"


def set_values(text: str, values: Values) -> str:
    """TOML ``text`` with these values in place of the old ones; comments stay. A key or table that is not there is added."""
    for (table, key), value in values.items():
        text = _set_value(text, table, key, json.dumps(value))  # for text, numbers and booleans JSON is TOML
    return text


def _set_value(text: str, table: str, key: str, value: str) -> str:
    header = re.search(rf"^\[{re.escape(table)}\][^\n]*\n", text, re.M)
    if not header:
        return f"{text.rstrip()}\n\n[{table}]\n{key} = {value}\n"
    following = re.search(r"^\[", text[header.end() :], re.M)
    end = header.end() + following.start() if following else len(text)
    section = text[header.end() : end]
    line = re.compile(rf"^({re.escape(key)}\s*=\s*)(\"(?:[^\"\\]|\\.)*\"|'[^']*'|[^\s#]+)", re.M)
    if line.search(section):
        section = line.sub(lambda match: match[1] + value, section, count=1)
    else:
        section = f"{key} = {value}\n{section}"
    return text[: header.end()] + section + text[end:]
