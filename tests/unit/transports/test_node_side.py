"""Addresses as nodes write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nano.transports.node_side import Listening, join_address, split_address


@pytest.mark.parametrize(("text", "parts"), [("10.0.0.3:5601", ("10.0.0.3", 5601)), ("[::1]:1", ("::1", 1))])
def test_addresses_split_and_join(text: str, parts: tuple[str, int]) -> None:
    assert split_address(text) == parts
    assert join_address(*parts) == text
    assert Listening(*parts).address == text


@pytest.mark.parametrize("bad", ["", "10.0.0.3", "10.0.0.3:", ":5601", "10.0.0.3:0", "10.0.0.3:65536", "a:b", "a:-1"])
def test_what_is_no_address_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        split_address(bad)


@given(st.ip_addresses().map(str), st.integers(1, 65535))
def test_any_address_survives(host: str, port: int) -> None:
    assert split_address(join_address(host, port)) == (host, port)
