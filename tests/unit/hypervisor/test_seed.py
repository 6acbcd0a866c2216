"""The seed as others read it: label, names and contents, by Rock Ridge and by Joliet; and who may read the file."""

import io
import stat
from pathlib import Path

import anyio
import pycdlib
import pytest

from nano.hypervisor.blocking_calls import BlockingCalls
from nano.hypervisor.seed import seed_iso
from nano.hypervisor.volumes import Volumes

TEXTS = {"meta-data": "instance-id: x\n", "user-data": "#cloud-config\n" + "é" * 3000, "network-config": "version: 2\n"}
GUEST = "3f0c9d2e-0000-4000-8000-000000000001"


def test_names_and_texts_are_read_back_both_ways() -> None:
    image = pycdlib.PyCdlib()
    image.open_fp(io.BytesIO(seed_iso(TEXTS)))
    assert image.pvd.volume_identifier.decode().strip() == "cidata"
    for key in ("rr_path", "joliet_path"):
        for name, text in TEXTS.items():
            found = io.BytesIO()
            image.get_file_from_iso_fp(found, **{key: f"/{name}"})
            assert found.getvalue().decode() == text
    image.close()


@pytest.mark.anyio
async def test_the_file_is_for_this_user_alone_and_whole(tmp_path: Path) -> None:
    volumes = Volumes(tmp_path, BlockingCalls("test"))
    await volumes.make_seed(GUEST, TEXTS)
    path = tmp_path / f"{GUEST}_seed.iso"
    found = await anyio.Path(path).stat()
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert (await anyio.Path(path).read_bytes())[32769:32774] == b"CD001"
    assert await volumes.sizes(GUEST) == {}
    assert await volumes.remove(GUEST) == [path.name]
