"""Shared fixtures. Async tests run on asyncio, the only loop Nano supports (uvloop in daemons)."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--regenerate", action="store_true", help="rewrite golden files; look at the difference before committing"
    )


@pytest.fixture
def regenerate(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--regenerate"))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
