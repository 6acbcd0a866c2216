"""The key file: made once, private, and refused with words when it is wrong."""

import logging
import stat
from pathlib import Path

import pytest

from nano.domain.errors import Invalid
from nano.http.credentials import FILE_NAME, Credential, Credentials, load_credentials, load_or_make_credentials


def test_made_at_first_start_and_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    made = load_or_make_credentials(tmp_path / "config")
    path = tmp_path / "config" / FILE_NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert made.ids() == ["nanoctl", "frontend"]
    first, second = made.get("nanoctl"), made.get("frontend")
    assert first is not None
    assert second is not None
    assert (first.role, second.role) == ("administrator", "frontend")
    assert first.key != second.key
    assert len(first.key) >= 40
    again = load_or_make_credentials(tmp_path / "config")
    assert again.get("nanoctl") == first
    assert first.key not in caplog.text + repr(first) + repr([first]) + str(first)
    assert list(path.parent.iterdir()) == [path]


def test_more_entries_may_be_added(tmp_path: Path) -> None:
    load_or_make_credentials(tmp_path)
    path = tmp_path / FILE_NAME
    path.write_text(path.read_text() + '\n[[credential]]\nid = "watch"\nkey = "0123456789abcdef"\nrole = "reader"\n')
    found = load_credentials(tmp_path).get("watch")
    assert found is not None
    assert found.role == "reader"


def test_a_file_open_to_others_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    load_or_make_credentials(tmp_path)
    (tmp_path / FILE_NAME).chmod(0o644)
    load_credentials(tmp_path)
    assert "credentials.open_to_others" in caplog.text


@pytest.mark.parametrize(
    "text",
    [
        "credential = 1",
        "not toml",
        '[[credential]]\nid = "a"\nkey = "0123456789abcdef"\n',
        '[[credential]]\nid = "a"\nkey = "0123456789abcdef"\nrole = "king"\n',
        '[[credential]]\nid = "a"\nkey = "short"\nrole = "reader"\n',
        '[[credential]]\nid = "a/b"\nkey = "0123456789abcdef"\nrole = "reader"\n',
        '[[credential]]\nid = "a"\nkey = "0123456789abcdef"\nrole = "reader"\nmore = 1\n',
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(Invalid) as refused:
        load_credentials(tmp_path)
    assert refused.value.code == "invalid_credentials"
    assert "0123456789abcdef" not in str(refused.value)


def test_ids_are_unique() -> None:
    one = Credential("a", "0123456789abcdef", "reader")
    with pytest.raises(Invalid, match="twice"):
        Credentials([one, one])
