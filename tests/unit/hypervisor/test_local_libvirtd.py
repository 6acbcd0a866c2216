"""The address of a private libvirtd, whatever its folder is called."""

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from nano.hypervisor import local_libvirtd


@pytest.mark.parametrize("name", ["plain", "Zu stand", "云", "a&b=c", "50%2f", "what?#"])
def test_a_folder_of_any_name_has_an_address_that_is_a_uri(name: str) -> None:
    uri = local_libvirtd.uri_of(Path("/tmp") / name)
    assert uri.isascii()
    assert " " not in uri
    assert parse_qs(urlsplit(uri).query) == {"socket": [f"/tmp/{name}/run/{local_libvirtd.SOCKET}"]}
