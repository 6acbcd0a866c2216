"""Shared fixtures. Async tests run on asyncio, the only loop Nano supports (uvloop in daemons)."""

import gc
from collections.abc import Iterator

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--regenerate", action="store_true", help="rewrite golden files; look at the difference before committing"
    )


@pytest.fixture
def regenerate(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--regenerate"))


@pytest.fixture(scope="module", autouse=True)
def _blamed_for_what_it_leaves() -> Iterator[None]:
    """What nobody closed complains when it is collected, which fails the test that runs then: let it be one of its own file."""
    yield
    gc.collect()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
