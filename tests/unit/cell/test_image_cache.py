"""The cell's images: fetched once, there while held, gone when Core no longer knows them."""

import errno
import hashlib
import os
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from nano.cell.image_cache import ImageCache, Progress
from nano.domain.errors import HostError, Unreachable
from nano.journal.testing import BadDisk
from nano.transports.files import FILES
from nano.transports.messages import ImageSource

pytestmark = pytest.mark.anyio

ONE, TWO, THREE = (
    ImageSource(name, f"https://core/{name}", 3, hashlib.sha256(name.encode()).hexdigest()) for name in "abc"
)


class Cache:
    def __init__(self, folder: Path, size_max: int = 100) -> None:
        self.folder = folder
        self.needed: set[str] = set()
        self.disk = BadDisk()
        self.fetched: list[str] = []
        self.images = ImageCache(
            folder,
            self._fetch,
            files=FILES._replace(disk=self.disk),
            size_max=size_max,
            needed=lambda: self.needed,
        )

    async def _fetch(self, source: ImageSource, target: Path, progress: Progress) -> None:
        target.parent.mkdir(exist_ok=True)
        await anyio.lowlevel.checkpoint()
        if source.url.endswith("away"):
            raise Unreachable("Core is away.")
        await anyio.Path(target).write_bytes(b"abc")
        self.fetched.append(source.image_id)
        progress(100)

    async def read(self, source: ImageSource) -> Path:
        async with self.images.reading(source, lambda _: None) as path:
            assert await anyio.Path(path).read_bytes() == b"abc"
            return path

    async def use(self, source: ImageSource) -> bytes:
        async with self.images.using(source, lambda _: None) as path:
            await anyio.lowlevel.checkpoint()
            return path.read_bytes()

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


async def test_many_who_wait_share_one_fetch_and_it_stays(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "images")
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(cache.use, ONE)
    assert await cache.use(ONE) == b"abc"
    assert cache.fetched == ["a"]


async def test_what_core_no_longer_knows_goes_with_what_an_unfinished_fetch_has_left(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "images")
    await cache.use(ONE)
    await cache.use(TWO)
    (tmp_path / "images" / f"{'0' * 64}.qcow2.part").write_bytes(b"a")
    await cache.images.keep((TWO.sha256,))
    assert cache.names() == [f"{TWO.sha256}.qcow2"]
    await cache.images.keep(())
    assert cache.names() == []


async def test_an_image_in_use_goes_with_its_last_holder(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "images")
    async with cache.images.using(ONE, lambda _: None) as path:
        async with cache.images.using(ONE, lambda _: None):
            await cache.images.keep(())
            assert path.exists()
        assert path.exists()
    assert not path.exists()


async def test_an_image_that_is_wanted_again_stays(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "images")
    async with cache.images.using(ONE, lambda _: None) as path:
        await cache.images.keep(())
        async with cache.images.using(ONE, lambda _: None):
            assert path.exists()
    assert path.exists()


async def test_a_fetch_that_fails_leaves_the_image_free_to_be_removed(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "images")
    await cache.use(TWO)
    with pytest.raises(Unreachable):
        await cache.use(ImageSource("a", "https://core/away", 3, ONE.sha256))
    await cache.images.keep(())
    assert cache.names() == []


async def test_a_disk_that_does_not_remove_is_told_and_asked_again(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "images")
    await cache.use(ONE)
    real = cache.disk.remove

    def refuse(path: Path) -> None:
        raise OSError(errno.EIO, "no")

    cache.disk.remove = refuse  # type: ignore[method-assign]
    with pytest.raises(HostError) as caught:
        await cache.images.keep(())
    assert caught.value.code == "image_not_removed"
    cache.disk.remove = real  # type: ignore[method-assign]
    await cache.images.keep(())
    assert cache.names() == []


async def test_the_oldest_goes_when_there_is_no_room_but_none_that_a_disk_leans_on(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "images", size_max=7)
    await cache.use(ONE)
    await cache.use(TWO)
    os.utime(tmp_path / "images" / f"{TWO.sha256}.qcow2", (1, 1))
    await cache.use(THREE)
    assert cache.names() == sorted(f"{image.sha256}.qcow2" for image in (ONE, THREE))
    cache.needed.add(str(tmp_path / "images" / f"{ONE.sha256}.qcow2"))
    os.utime(tmp_path / "images" / f"{ONE.sha256}.qcow2", (1, 1))
    await cache.use(TWO)
    assert cache.names() == sorted(f"{image.sha256}.qcow2" for image in (ONE, TWO))
    await cache.images.keep(())
    assert cache.names() == [f"{ONE.sha256}.qcow2"]


@pytest.fixture
def near(tmp_path: Path) -> ImageSource:
    """Core's file on this machine."""
    path = tmp_path / "core.qcow2"
    path.write_bytes(b"abc")
    return ImageSource("a", "https://core/a", 3, hashlib.sha256(b"abc").hexdigest(), "qcow2", str(path))


async def test_who_reads_once_is_given_cores_own_file_where_it_is_here(tmp_path: Path, near: ImageSource) -> None:
    cache = Cache(tmp_path / "cache")
    assert await cache.read(near) == Path(near.path)
    assert cache.fetched == []
    await cache.use(near)  # whoever needs it to stay has it fetched
    assert cache.fetched == ["a"]
    assert (await cache.read(near)).parent == cache.folder


@pytest.mark.parametrize("there", [b"abd", b"ab", b"abcd", None])
async def test_another_file_of_that_name_is_not_taken_for_it(
    tmp_path: Path, near: ImageSource, there: bytes | None
) -> None:
    cache = Cache(tmp_path / "cache")
    if there is None:
        await anyio.Path(near.path).unlink()
    else:
        await anyio.Path(near.path).write_bytes(there)
    assert (await cache.read(near)).parent == cache.folder
    assert cache.fetched == ["a"]


async def test_its_bytes_are_read_once_until_it_is_written_again(tmp_path: Path, near: ImageSource) -> None:
    cache = Cache(tmp_path / "cache")
    reads: list[Path] = []
    read = cache.disk.read
    cache.disk.read = lambda path, *where: (reads.append(path), read(path, *where))[1]  # type: ignore[method-assign]
    await cache.read(near)
    taken = len(reads)
    assert taken
    await cache.read(near)
    assert len(reads) == taken
    await anyio.Path(near.path).write_bytes(b"abd")
    os.utime(near.path, (1, 1))
    assert (await cache.read(near)).parent == cache.folder
