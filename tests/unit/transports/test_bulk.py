"""The image service and its client, over real TLS on loopback."""

import errno
import hashlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from types import SimpleNamespace

import anyio
import anyio.lowlevel
import httpx
import pytest

from nano.domain.errors import Conflict, DiskFull, Failure, Forbidden, Unknown, Unreachable
from nano.journal.testing import BadDisk
from nano.transports.bulk import BulkApp, BulkFile, serve_bulk
from nano.transports.bulk_attempt import client_tls
from nano.transports.bulk_fetch import fetch, over_https
from nano.transports.files import CHUNK_BYTES, FILES
from nano.transports.identity import NodeIdentity, load_or_create
from nano.transports.messages import Hello
from nano.transports.node_side import Listening
from nano.transports.part_file import PartFile
from nano.transports.unwrap import plain_errors

pytestmark = pytest.mark.anyio

DATA = Random(5).randbytes(3 * CHUNK_BYTES + 12345)
DIGEST = hashlib.sha256(DATA).hexdigest()


class Zone(SimpleNamespace):
    core: NodeIdentity
    cell: NodeIdentity
    image: Path
    approved: set[str]
    files: dict[str, BulkFile]
    target: Path


def admit(core: NodeIdentity, node: NodeIdentity, name: str) -> None:
    assert core.authority is not None
    node.adopt(*core.authority.issue_for(Hello(name, "cell", "nano", "0"), node.public_key))


@pytest.fixture
def zone(tmp_path: Path) -> Zone:
    core = load_or_create(tmp_path / "core", "Core", domain="nano", addresses=["127.0.0.1"], with_authority=True)
    cell = load_or_create(tmp_path / "cell", "Cell_1")
    admit(core, cell, "Cell_1")
    image = tmp_path / "image.qcow2"
    image.write_bytes(DATA)
    files = {"i1": BulkFile(image, len(DATA), DIGEST)}
    return Zone(
        core=core, cell=cell, image=image, files=files, approved={cell.fingerprint}, target=tmp_path / "pool" / "i1"
    )


@asynccontextmanager
async def bulk(zone: Zone, port: int = 0) -> AsyncIterator[Listening]:
    async with anyio.create_task_group() as tasks:
        yield await tasks.start(
            partial(serve_bulk, "127.0.0.1", port, zone.core, zone.files.get, zone.approved.__contains__)
        )
        tasks.cancel_scope.cancel()


def url(listening: Listening, image: str = "i1") -> str:
    return f"https://{listening.address}/images/{image}"


async def get(zone: Zone, size: int = len(DATA), digest: str = DIGEST, image: str = "i1", **more: object) -> None:
    with plain_errors():
        async with bulk(zone) as listening:
            await fetch(url(listening, image), size, digest, zone.target, over_https(zone.cell), **more)  # type: ignore[arg-type]


def part(zone: Zone) -> Path:
    return zone.target.with_name("i1.part")


async def test_an_image_arrives_whole_with_progress(zone: Zone) -> None:
    seen: list[tuple[int, int]] = []
    await get(zone, progress=lambda done, size: seen.append((done, size)))
    assert zone.target.read_bytes() == DATA
    assert not part(zone).exists()
    assert seen[-1] == (len(DATA), len(DATA))
    assert seen == sorted(seen)
    assert len(seen) >= 4


async def test_an_interrupted_fetch_goes_on_where_it_was(zone: Zone) -> None:
    zone.target.parent.mkdir()
    part(zone).write_bytes(DATA[: 2 * CHUNK_BYTES])
    seen: list[int] = []
    await get(zone, progress=lambda done, _: seen.append(done))
    assert zone.target.read_bytes() == DATA
    assert seen[0] > 2 * CHUNK_BYTES


async def test_cancelling_keeps_the_part_for_the_next_time(zone: Zone) -> None:
    async with bulk(zone) as listening:
        with anyio.CancelScope() as scope:
            await fetch(
                url(listening),
                len(DATA),
                DIGEST,
                zone.target,
                over_https(zone.cell),
                progress=lambda *_: scope.cancel(),
            )
        assert 0 < part(zone).stat().st_size < len(DATA)
        assert not zone.target.exists()
        await fetch(url(listening), len(DATA), DIGEST, zone.target, over_https(zone.cell))
    assert zone.target.read_bytes() == DATA


async def test_a_server_that_dies_and_returns_is_waited_for(zone: Zone) -> None:
    died = anyio.Event()
    first = anyio.CancelScope()
    done: list[int] = []

    def progress(now: int, _: int) -> None:
        done.append(now)
        first.cancel()

    async def serve_once(task_status: anyio.abc.TaskStatus[Listening]) -> None:
        with first:
            await serve_bulk(
                "127.0.0.1", 0, zone.core, zone.files.get, zone.approved.__contains__, task_status=task_status
            )
        died.set()

    async with anyio.create_task_group() as tasks:
        listening = await tasks.start(serve_once)

        async def again() -> None:
            await died.wait()
            tasks.start_soon(
                partial(serve_bulk, "127.0.0.1", listening.port, zone.core, zone.files.get, zone.approved.__contains__)
            )

        tasks.start_soon(again)
        with anyio.fail_after(20):
            await fetch(url(listening), len(DATA), DIGEST, zone.target, over_https(zone.cell), progress=progress)
        tasks.cancel_scope.cancel()
    assert zone.target.read_bytes() == DATA


async def test_a_wrong_digest_leaves_nothing(zone: Zone) -> None:
    zone.image.write_bytes(DATA[:-1] + b"!")
    with pytest.raises(Failure) as caught:
        await get(zone)
    assert caught.value.code == "image_damaged"
    assert not zone.target.exists()
    assert not part(zone).exists()


async def test_a_file_of_another_size_is_not_served(zone: Zone) -> None:
    zone.image.write_bytes(DATA[:-1])
    with pytest.raises(Failure) as caught:
        await get(zone)
    assert caught.value.code == "image_changed"


async def test_more_than_announced_is_not_written(zone: Zone) -> None:
    with pytest.raises(Failure) as caught:
        await get(zone, size=CHUNK_BYTES)
    assert caught.value.code == "image_damaged"
    assert not part(zone).exists()


async def test_another_image_under_the_address_is_noticed(zone: Zone) -> None:
    with pytest.raises(Failure) as caught:
        await get(zone, digest="00" * 32)
    assert caught.value.code == "image_damaged"


async def test_an_unknown_image(zone: Zone) -> None:
    with pytest.raises(Unknown) as caught:
        await get(zone, image="../../etc/passwd")
    assert caught.value.code == "image_unknown"


async def test_a_removed_cell_gets_nothing_with_its_good_certificate(zone: Zone) -> None:
    zone.approved.clear()
    with pytest.raises(Forbidden) as caught:
        await get(zone)
    assert caught.value.code == "node_not_approved"


async def test_a_cell_without_certificate_of_the_domain_is_told_so(zone: Zone, tmp_path: Path) -> None:
    zone.cell = load_or_create(tmp_path / "fresh", "Cell_2")
    with pytest.raises(Forbidden, match="approval"):
        await get(zone)


async def test_a_foreign_certificate_does_not_get_through_tls(zone: Zone, tmp_path: Path) -> None:
    foreign = load_or_create(tmp_path / "foreign", "Core", with_authority=True)
    cell = load_or_create(tmp_path / "theirs", "Cell_3")
    admit(foreign, cell, "Cell_3")
    zone.approved.add(cell.fingerprint)
    tls = client_tls(cell)
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    async with bulk(zone) as listening, httpx.AsyncClient(verify=tls, trust_env=False) as client:
        with pytest.raises(httpx.TransportError):
            await client.get(url(listening))
        tls_without = ssl.create_default_context(cafile=str(zone.cell.authority_path))
    async with bulk(zone) as listening, httpx.AsyncClient(verify=tls_without, trust_env=False) as client:
        with pytest.raises(httpx.TransportError):
            await client.get(url(listening))


async def test_a_foreign_server_is_not_believed(zone: Zone, tmp_path: Path) -> None:
    zone.core = load_or_create(tmp_path / "foreign", "Core", addresses=["127.0.0.1"], with_authority=True)
    with pytest.raises(Unreachable, match="certificate"):
        await get(zone, sleep=lambda _: anyio.lowlevel.checkpoint())
    assert not zone.target.exists()


async def test_a_disk_that_is_too_small_is_known_before_the_first_byte(zone: Zone) -> None:
    with pytest.raises(DiskFull) as caught:
        await get(zone, files=FILES._replace(free=lambda _: CHUNK_BYTES))
    assert caught.value.context["free"] == CHUNK_BYTES
    assert not part(zone).exists()


async def test_a_disk_that_fills_up_meanwhile_leaves_nothing(zone: Zone) -> None:
    disk = BadDisk()
    disk.order("append", errno.ENOSPC, name="i1.part", short=CHUNK_BYTES // 2)
    with pytest.raises(DiskFull):
        await get(zone, files=FILES._replace(disk=disk))
    assert not part(zone).exists()
    assert not zone.target.exists()


@pytest.mark.parametrize("operation", ["open", "append", "fdatasync", "rename", "sync_folder"])
async def test_a_disk_that_fails_is_a_failure_with_a_name_and_the_next_fetch_succeeds(
    zone: Zone, operation: str
) -> None:
    disk = BadDisk()
    disk.order(operation, errno.EIO, name="pool")
    with pytest.raises(Failure) as caught:
        await get(zone, files=FILES._replace(disk=disk))
    assert caught.value.code == "image_unwritable"
    assert not part(zone).exists()
    await get(zone, files=FILES._replace(disk=disk))
    assert zone.target.read_bytes() == DATA


async def test_a_part_that_a_loss_of_power_has_changed_is_fetched_anew(zone: Zone) -> None:
    zone.target.parent.mkdir()
    part(zone).write_bytes(DATA[:CHUNK_BYTES] + bytes(CHUNK_BYTES))
    await get(zone)
    assert zone.target.read_bytes() == DATA


async def test_two_fetches_of_one_target_do_not_mix(zone: Zone) -> None:
    zone.target.parent.mkdir()
    held = PartFile(FILES, zone.target, len(DATA))
    try:
        with pytest.raises(Conflict) as caught:
            await get(zone)
        assert caught.value.code == "transfer_running"
    finally:
        held.close(keep=True)
    await get(zone)
    assert zone.target.read_bytes() == DATA


@pytest.mark.parametrize(
    ("header", "status", "expected"),
    [
        (None, 200, DATA),
        ("bytes=0-0", 206, DATA[:1]),
        ("bytes=10-19", 206, DATA[10:20]),
        (f"bytes={len(DATA) - 5}-", 206, DATA[-5:]),
        ("bytes=-7", 206, DATA[-7:]),
        (f"bytes=0-{len(DATA) * 2}", 206, DATA),
        (f"bytes={len(DATA)}-", 416, None),
        ("bytes=-0", 416, None),
        ("bytes=5-2", 416, None),
        ("bytes=-", 416, None),
        ("bytes=a-b", 416, None),
        ("bytes=0-1,3-4", 416, None),
        ("lines=1-2", 416, None),
    ],
)
async def test_ranges(zone: Zone, header: str | None, status: int, expected: bytes | None) -> None:
    app = BulkApp(zone.files.get, lambda _: True)
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://core") as client:
        answer = await client.get("/images/i1", headers={"range": header} if header else {})
        assert answer.status_code == status
        if expected is not None:
            assert answer.content == expected
            assert answer.headers["etag"] == f'"{DIGEST}"'
        stale = await client.get("/images/i1", headers={"range": "bytes=0-1", "if-range": '"old"'})
        assert (stale.status_code, stale.content) == (200, DATA)
        head = await client.head("/images/i1")
        assert (head.content, head.headers["content-length"]) == (b"", str(len(DATA)))
        assert (await client.post("/images/i1")).status_code == 405
        assert (await client.get("/elsewhere")).status_code == 404
