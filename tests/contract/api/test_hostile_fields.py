"""Every field of every command of the catalogue with hostile values: refused with a stable code, and nothing is journaled.

The values are made from the fields' types, the requests from the catalogue, so a new command is here by itself: only what its
usual values are, or why it can't be carried out here, has to be said (``USUAL``, ``NOT_HERE``).
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import anyio
import httpx
import msgspec
import pytest

from nano.domain.catalogue import COMMANDS, CommandEntry
from nano.domain.cell import MeetCell
from nano.http.client import Signer

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(280)]

MEBI = 1 << 20
TEXTS: Final = [
    "../../etc/passwd", "a\0b", "a\nb", "a;rm -rf /", "<guest name='x'/>", "<script>alert(1)</script>", "x" * 10_000, "%s%n",
    "a b\t", "\u202egnp.exe", "$(id)",
]  # fmt: skip
WRONG: Final[dict[type, list[Any]]] = {
    msgspec.inspect.StrType: [1, True, [], {}, 1.5],
    msgspec.inspect.IntType: ["1", "x", 1.5, [], {}, True, -1, -(2**63), 2**63, 10**30],
    msgspec.inspect.BoolType: ["yes", 1, [], {}],
    msgspec.inspect.LiteralType: ["nothing of it", "", 1, []],
    msgspec.inspect.VarTupleType: ["x", 1, {}, [[]], [{}], [None], [1.5]],
    msgspec.inspect.DictType: ["x", 1, [[]]],
    msgspec.inspect.StructType: ["x", 1, [], {"none such": 1}],
}
FREE: Final = {"description", "notes", "cloud_init", "template.create name", "template.modify name"}
"""Of them some values are people's own words and passwords, kept as they are and never read as anything: only asked dry."""
USUAL: Final[dict[str, Any]] = {  # of a field, or of "command field" where one differs
    "name": "made",
    "memory": 64 * MEBI,
    "disks": [MEBI],
    "guest": "web",
    "guests": ["web"],
    "prefix": "many",
    "count": 2,
    "cell": "one",
    "to": "two",
    "pool": "default",
    "size": 2 * MEBI,
    "compute_pool.delete pool": "lab",
    "cell.add cell": "two",
    "compute_pool.modify enabled": False,
    "sha256": "0" * 64,
    "mac": "52:54:00:00:00:01",
    "guest.set name": "shop",
    "guest.describe notes": "Ask Li.",
    "guest.disk.grow size": 128 * MEBI,
    "guest.disk.shrink size": 2 * MEBI,
    "guest.disk.shrink number": 1,
    "guest.disk.shrink force": True,
    "guest.disk.remove number": 1,
    "guest.reset image": "img",
    "template": "General",
    "template.create operating_system": "linux",
    "template.create admin": "root",
    "action": "accept",
    "guard": "off",
    "rule": 1,
    "every_hours": 24,
    "keep": 3,
    "place": 1,
    "image": "img",
    "media": "cd",
    "image.build guest": "web",
    "image.register path": "/tmp/made.qcow2",
    "image.upload size": 4096,
    "media.upload size": 4096,
    "orphans.remove orphan": "one/volume/3f0c0000-0000-4000-8000-00000000000f_0.qcow2",
}
NOT_HERE: Final = {  # commands for which the bed has nothing in the right state, with the code that says so
    "cell.enable": "no_change",
    "cell.remove": "cell_not_empty",
    "guest.stop": "guest_stopped",
    "guest.force_stop": "guest_stopped",
    "guest.reboot": "guest_stopped",
    "guest.force_reboot": "guest_stopped",
    "guest.redefine": "guest_stopped",
    "guest.unprotect": "no_change",
    "guest.restore": "not_recycled",
    "guest.nic.remove": "unknown_nic",
    "guest.media.insert": "unknown_media",
    "guest.migrate": "unknown_cell",
    "guest.snapshot.restore": "unknown_snapshot",
    "guest.snapshot.delete": "unknown_snapshot",
    "guest.open_console": "guest_stopped",
    "guest.rule.modify": "invalid_rule",
    "guest.rule.move": "invalid_rule",
    "guest.rule.remove": "invalid_rule",
    "guest.snapshot.unschedule": "no_change",
    "guest.open_serial": "guest_stopped",
    "guest.password": "guest_stopped",
    "guest.vnc.reset": "vnc_off",
    "guest.vnc.disable": "vnc_off",
    "guest.vnc.show": "vnc_off",
    "guest.show_password": "password_unknown",
    "image.finish_upload": "upload_not_open",
    "media.finish_upload": "unknown_media",
    "media.edit": "unknown_media",
    "media.delete": "unknown_media",
    "task.cancel": "unknown_task",
}


def usual(entry: CommandEntry, field: str) -> Any:
    return USUAL.get(f"{entry.name} {field}", USUAL.get(field))


def base(entry: CommandEntry) -> dict[str, Any]:
    """A request that Core takes: what must be given, and what this table gives for just this command."""
    info = msgspec.inspect.type_info(entry.command)
    assert isinstance(info, msgspec.inspect.StructType)
    return {
        field.name: value
        for field in info.fields
        if (value := usual(entry, field.name)) is not None and (field.required or f"{entry.name} {field.name}" in USUAL)
    }


def hostile(kind: msgspec.inspect.Type) -> Iterator[Any]:
    if isinstance(kind, msgspec.inspect.UnionType):
        told = [one for one in kind.types if not isinstance(one, msgspec.inspect.NoneType)]
        yield from hostile(told[0])
        return
    if isinstance(kind, msgspec.inspect.StrType):
        yield from TEXTS
    elif isinstance(kind, msgspec.inspect.VarTupleType):
        yield [0] * 10_000
        yield from ([value] for value in hostile(kind.item_type) if not isinstance(value, list))
    elif isinstance(kind, msgspec.inspect.StructType):
        for field in kind.fields:
            yield from ({field.name: value} for value in hostile(field.type))
    elif isinstance(kind, msgspec.inspect.DictType):
        yield from ({"key": value} for value in hostile(kind.value_type))
    yield from WRONG[type(kind)]


class Bed:
    """Core's application, asked as an administrator without a socket between."""

    def __init__(self, served: Any) -> None:
        self.core = served.core
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(served.app, raise_app_exceptions=False), base_url=served.address
        )
        self._signer = Signer("administrator", served.admin._signer._key.decode())

    async def ask(self, entry: CommandEntry, body: dict[str, Any], *, dry: bool = False) -> httpx.Response:
        path = entry.path
        rest = dict(body)
        for name in body:
            if "{" + name + "}" in path:
                path = path.replace("{" + name + "}", quote(str(rest.pop(name)), safe=""))
        path = path.replace("{", "").replace("}", "")
        query = {"dry_run": "true"} if dry else {}
        content = b""
        if entry.method == "DELETE":
            query |= {name: value if isinstance(value, str) else json.dumps(value) for name, value in rest.items()}
        elif rest:
            content = json.dumps(rest).encode()
        request = self.client.build_request(entry.method, f"/api/v2{path}", params=query, content=content)
        self._signer.sign(request, content)
        return await self.client.send(request)


async def furnished(served: Any, folder: Path) -> Bed:
    """A zone with a guest of two disks, an image, a second cell that waits, and an empty pool."""
    path = folder / "img.qcow2"
    await anyio.run_process(["qemu-img", "create", "-q", "-f", "qcow2", str(path), str(MEBI)])
    await served.create("web", disks=[64 * MEBI, 4 * MEBI])
    answer = await served.admin.request("POST", "/api/v2/images", json={"name": "img", "path": str(path)})
    await served.task(answer.json()["task"]["id"])
    await served.admin.request("POST", "/api/v2/compute-pools", json={"name": "lab"})
    await served.core.ledger.execute(MeetCell(name="two", fingerprint="f", address="a"), actor="core", command_id="")
    return Bed(served)


async def test_the_usual_values_are_taken(serve: Any, tmp_path: Path) -> None:
    """Else the values below might be refused for another reason than being hostile."""
    async with serve("one") as served:
        bed = await furnished(served, tmp_path)
        refused = {}
        for entry in COMMANDS:
            answer = await bed.ask(entry, base(entry), dry=True)
            if answer.status_code >= 300:
                refused[entry.name] = (answer.json()["code"], answer.json().get("detail"))
        assert {name: code for name, (code, _) in refused.items()} == NOT_HERE


async def test_hostile_values_are_refused_and_nothing_is_journaled(serve: Any, tmp_path: Path) -> None:
    async with serve("one") as served:
        bed = await furnished(served, tmp_path)
        wrong = []
        asked = 0
        for entry in COMMANDS:
            info = msgspec.inspect.type_info(entry.command)
            assert isinstance(info, msgspec.inspect.StructType)
            for field in info.fields:
                for value in hostile(field.type):
                    in_address = entry.method == "DELETE" or "{" + field.name + "}" in entry.path
                    if in_address and (value == "1" or not isinstance(value, str)):
                        continue  # an address has texts only, and there this is a number
                    free = bool({field.name, f"{entry.name} {field.name}"} & FREE)
                    before = bed.core.ledger.position
                    answer = await bed.ask(entry, base(entry) | {field.name: value}, dry=free)
                    code = answer.json().get("code", "") if answer.content else ""
                    refused = 400 <= answer.status_code < 500 and code != ""
                    if bed.core.ledger.position != before or not (refused or (free and answer.status_code == 200)):
                        wrong.append((entry.name, field.name, str(value)[:60], answer.status_code, code))
                    assert len(answer.content) < 8_000, (entry.name, field.name)
                    asked += 1
        assert wrong == []
        assert asked > 2000
