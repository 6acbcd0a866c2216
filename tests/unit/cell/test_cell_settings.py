"""A cell's settings: made with defaults where there are none, and refused where viewers would come in by surprise."""

from pathlib import Path

import pytest

from nano.cell.settings import load_settings
from nano.domain.errors import Invalid


def test_the_file_that_is_made_says_what_the_defaults_are(tmp_path: Path) -> None:
    made = load_settings(tmp_path)
    assert made == load_settings(tmp_path)
    assert (made.vnc.address, made.vnc.ports) == ("127.0.0.1", range(5901, 6001))


@pytest.mark.parametrize("address", ["", "10.0.0.5", "::1", "2001:db8::5"])
def test_one_address_or_none_is_where_viewers_come(tmp_path: Path, address: str) -> None:
    (tmp_path / "cell.toml").write_text(f'[vnc]\naddress = "{address}"\nfirst_port = 5901\nlast_port = 5901\n')
    settings = load_settings(tmp_path).vnc
    assert (settings.address, settings.ports) == (address, range(5901, 5902))


@pytest.mark.parametrize(
    "text",
    [
        'address = "0.0.0.0"',
        'address = "::"',
        'address = "224.0.0.1"',
        'address = "localhost"',
        'address = "10.0.0.5:5901"',
        "address = 1",
        "first_port = 80",
        "last_port = 70000",
        "first_port = 6000\nlast_port = 5901",
        "first_port = 2000\nlast_port = 4000",
        "password = 'x'",
    ],
)
def test_what_nobody_can_mean_is_refused_with_the_file_s_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "cell.toml").write_text(f"[vnc]\n{text}\n")
    with pytest.raises(Invalid) as refused:
        load_settings(tmp_path)
    assert (refused.value.code, "cell.toml" in refused.value.message) == ("settings_invalid", True)
