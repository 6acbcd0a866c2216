"""Secrets that a journal keeps: the same text for the same request, and nothing without the key, or for another purpose."""

import stat
from pathlib import Path

import pytest

from nano.domain.errors import Failure, JournalError
from nano.journal.sealing import SealingKey, open_key

KEY = SealingKey(bytes(range(32)))


def test_it_opens_with_its_key_and_for_its_purpose_alone() -> None:
    sealed = KEY.seal(b"hT7kWq3m", "k", b"one")
    assert (KEY.open(sealed, b"one"), "hT7kWq3m" in sealed) == (b"hT7kWq3m", False)
    for key, purpose, text in (
        (SealingKey(bytes(32)), b"one", sealed),
        (KEY, b"other", sealed),
        (KEY, b"one", sealed[:-4]),
        (KEY, b"one", "v1:?"),
        (KEY, b"one", ""),
    ):
        with pytest.raises(Failure) as refused:
            key.open(text, purpose)
        assert refused.value.code == "secrets_key_changed"


def test_the_same_request_gives_the_same_text_and_no_other_does() -> None:
    first = KEY.seal(b"a", "k", b"one")
    assert first == KEY.seal(b"a", "k", b"one")
    assert len({first, KEY.seal(b"a", "l", b"one"), KEY.seal(b"b", "k", b"one")}) == 3


def test_the_key_is_made_once_for_this_user_alone_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "config" / "secrets.key"
    sealed = open_key(path).seal(b"a", "k", b"one")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert open_key(path).open(sealed, b"one") == b"a"
    path.write_bytes(b"short")
    with pytest.raises(JournalError) as refused:
        open_key(path)
    assert refused.value.code == "secrets_key_damaged"
