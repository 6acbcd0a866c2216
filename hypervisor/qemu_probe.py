"""What can this QEMU do? Asked of QEMU itself: of one without a machine, by its monitor.

Why: distributions build QEMU with and without parts, and versions differ; the program is the only one that knows. It knows
nothing of the kernel or of libvirt, which have probes of their own. Blocks for some tenths of a second.
"""

import json
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any, Final

from nano.domain import ability as ab
from nano.domain.ability import Ability

LIMIT_S: Final = 20.0
PROGRAM: Final = "qemu-system-x86_64"
DETAIL_MAX: Final = 200

CLIPBOARD_TYPE: Final = "chardev-qemu-vdagent"
_BLOCKS: Final = "migration of qemu-vdagent"

NEEDS: Final[
    Mapping[str, tuple[str, ...]]
] = {  # commands of its monitor and types of its devices that an ability takes
    ab.DISK_LIMITS: ("block_set_io_throttle",),
    ab.PLUG: ("device_add", "netdev_add", "blockdev-add"),
    ab.UNPLUG: ("device_del", "netdev_del", "blockdev-del"),
    ab.BALLOON: ("balloon", "virtio-balloon-pci"),
    ab.GUEST_AGENT: ("virtserialport", "virtio-serial-pci"),
    ab.CLIPBOARD: (CLIPBOARD_TYPE, "virtserialport"),
    ab.MEMORY_SNAPSHOTS: ("snapshot-save", "snapshot-load", "snapshot-delete"),
    ab.LIVE_MIGRATION: ("migrate", "migrate-incoming", "migrate_cancel"),
}
_CHANNEL: Final = {"id": "probe", "backend": {"type": "qemu-vdagent", "data": {"clipboard": True}}}
_ASKED: Final = (
    {"execute": "qmp_capabilities"},
    {"execute": "query-commands", "id": "commands"},
    {"execute": "qom-list-types", "id": "types"},
    {"execute": "query-version", "id": "version"},
    {"execute": "chardev-add", "id": "channel", "arguments": _CHANNEL},
    {"execute": "query-migrate", "id": "migration"},
    {"execute": "quit"},
)


def qemu_abilities(program: str = PROGRAM) -> list[Ability]:
    command = [program, "-machine", "none", "-nodefaults", "-no-user-config", "-display", "none", "-qmp", "stdio"]
    asked = "".join(f"{json.dumps(one)}\n" for one in _ASKED)
    try:
        done = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except OSError:
        return [Ability(name, False, "program", program) for name in (*NEEDS, ab.UNPLUG_CORES)]
    except subprocess.TimeoutExpired:
        return _none(f"{program} does not answer")
    answers = dict(_answers(done.stdout))
    if "commands" not in answers or "types" not in answers:
        return _none(done.stderr.strip()[-DETAIL_MAX:] or f"{program} ended with status {done.returncode}")
    has = {one["name"] for kind in ("commands", "types") for one in answers[kind]}
    found = []
    for name, parts in NEEDS.items():
        missing = [part for part in parts if part not in has]
        if name == ab.CLIPBOARD and not missing and not _moves_with_clipboard(answers):
            missing.append(_BLOCKS)
        found.append(Ability(name, not missing, "qemu" if missing else "", ", ".join(missing)))
    # Seen with QEMU 7.2: some seconds after a core was taken from a running guest, that guest's QEMU died. Of no version is
    # it known that it is safe.
    number = answers.get("version", {}).get("qemu", {})
    version = ".".join(str(number.get(part, "?")) for part in ("major", "minor"))
    return [*found, Ability(ab.UNPLUG_CORES, False, "unsafe", f"QEMU {version}")]


def _moves_with_clipboard(answers: Mapping[str, Any]) -> bool:
    """The channel was made, and nothing speaks against moving such a guest and keeping its memory: QEMU 7.2 refuses both."""
    return "channel" in answers and "migration" in answers and not answers["migration"].get("blocked-reasons")


def _none(why: str) -> list[Ability]:
    return [Ability(name, False, "told", why) for name in (*NEEDS, ab.UNPLUG_CORES)]


def _answers(said: str) -> Iterator[tuple[str, Any]]:
    for line in said.splitlines():
        try:
            answer = json.loads(line)
        except ValueError:
            continue
        if "id" in answer and "return" in answer:
            yield answer["id"], answer["return"]
