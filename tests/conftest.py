"""Shared fixtures. Async tests run on asyncio, the only loop Nano supports (uvloop in daemons)."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
