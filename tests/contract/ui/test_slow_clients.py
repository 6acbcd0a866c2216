"""Clients that never finish what they began: the portal hangs up on them instead of keeping their places for ever."""

from urllib.parse import urlsplit

import anyio
import pytest

from nano.ui.testing.stage import Stage

pytestmark = pytest.mark.anyio


async def _talk(portal: Stage, data: bytes) -> bytes:
    """What the portal says until it hangs up."""
    address = urlsplit(portal.portal)
    said = b""
    with anyio.fail_after(5):
        async with await anyio.connect_tcp(str(address.hostname), address.port or 80) as stream:
            await stream.send(data)
            try:
                while True:
                    said += await stream.receive()
            except anyio.EndOfStream:
                return said


async def test_a_head_that_never_ends_is_hung_up_on(portal: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nano.http.wire.HEAD_SECONDS_MAX", 0.1)
    assert await _talk(portal, b"GET / HTTP/1.1\r\nhost: x\r\nx: y") == b""


async def test_a_form_that_never_ends_is_refused(portal: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nano.ui.gate.FORM_SECONDS_MAX", 0.1)
    head = b"POST /login HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 20\r\n\r\nname="
    assert (await _talk(portal, head)).startswith(b"HTTP/1.1 400 ")
