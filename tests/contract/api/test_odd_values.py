"""Odd values in every field of every command: refused or carried out, and Core never fails over them."""

import json
import random
from typing import Any

import httpx
import pytest

from nano.domain.catalogue import COMMANDS
from nano.http.client import Signer

pytestmark = pytest.mark.anyio

ODD: list[Any] = [
    None, True, -1, 0, 1, 2**31, 2**63, 10**30, 1.5, -0.0, "", " ", "x" * 10_000, "\0", "中", "../..", "a/b", "a\nb", "default",
    "web", "one", [], [1], [10**30], [None], ["x"] * 100, {}, {"disk": "floppy"}, {"disk": "scsi", "x": 1}, [[[]]],
]  # fmt: skip
USUAL = {"name": "made", "memory": 1 << 27, "disks": [1 << 26], "path": "/tmp/image.qcow2", "pool": "default"}
PLACES = ["web", "one", "default", "none", "%00", "%2e%2e", "%E4%B8%AD", "x" * 150]


async def test_odd_values_in_every_field(serve: Any) -> None:
    chance = random.Random(11)
    async with serve("one") as served, httpx.AsyncClient(trust_env=False) as plain:
        await served.create("web")
        signer = Signer("administrator", served.admin._signer._key.decode())
        for entry in COMMANDS * 12:
            path = "/".join(chance.choice(PLACES) if part.startswith("{") else part for part in entry.path.split("/"))
            fields = [name for name in entry.command.__struct_fields__ if "{" + name + "}" not in entry.path]
            body = {name: USUAL[name] for name in fields if name in USUAL}
            body |= {name: chance.choice(ODD) for name in chance.sample(fields, chance.randint(0, len(fields)))}
            content = json.dumps(body).encode() if body else b""
            query = "?dry_run=true" if chance.random() < 0.3 else ""
            request = httpx.Request(entry.method, f"{served.address}/api/v2{path}{query}", content=content)
            signer.sign(request, content)
            answer = await plain.send(request)
            assert answer.status_code < 500 or answer.json()["code"] != "internal", (
                entry.name,
                path,
                body,
                answer.text,
            )
            if answer.status_code >= 400:
                assert answer.json()["code"]
                assert answer.headers["content-type"] == "application/problem+json"
        assert (await plain.get(f"{served.address}/api/v2/health")).status_code == 200
