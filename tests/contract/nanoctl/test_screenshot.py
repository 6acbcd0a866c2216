"""``guest screenshot``: the bytes of the answer go into the file as they came."""

from pathlib import Path
from typing import Any

import pytest

from nano.tools.nanoctl import exits


def test_the_picture_goes_into_the_file(nanoctl: Any, api: Any, tmp_path: Path) -> None:
    api.answer("GET", "/guests/web/screenshot", "picture")
    told = nanoctl("guest", "screenshot", "web", str(tmp_path / "web.png"), "-o", "json")
    assert told.json == {"file": str(tmp_path / "web.png"), "size": 9}
    assert (tmp_path / "web.png").read_bytes() == b'"picture"'


def test_a_refusal_writes_nothing(nanoctl: Any, tmp_path: Path) -> None:
    assert nanoctl("guest", "screenshot", "../x", str(tmp_path / "web.png")).code == exits.NOT_FOUND
    assert [*tmp_path.glob("*.png")] == []


@pytest.mark.parametrize("file", ["", "no/such/folder/web.png"])
def test_a_file_that_cannot_be_written_is_said(nanoctl: Any, api: Any, tmp_path: Path, file: str) -> None:
    api.answer("GET", "/guests/web/screenshot", "picture")
    told = nanoctl("guest", "screenshot", "web", str(tmp_path / file))
    assert (told.code, "invalid_file" in told.err) == (exits.USAGE, True)
