"""What nano-replay tells of a small zone, held by golden files. To write them anew: pytest --regenerate <this file>."""

from pathlib import Path
from typing import Any

import pytest

GOLDEN = Path(__file__).parents[3] / "golden" / "replay"
LINES = {
    "log": "log",
    "log-guest": "log --resource guest --type guest.",
    "show-guest": "show guest/web",
    "show-failed": "show guest/db",
    "show-cell": "show cell/Cell_0a1b2c3d4e5f",
    "state": "state",
    "state-then": "state --at 2026-11-21T03:00:11Z",
    "state-guest": "state guest/web",
    "verify": "verify",
    "stats": "stats --top 5",
    "diff": "diff --at 8 --at 2026-11-21T03:00:08Z",
    "diff-gone": "diff --at 17 --at 30 guest",
}


@pytest.mark.parametrize("width", [100, 60])
@pytest.mark.parametrize("name", LINES)
def test_output(replay: Any, regenerate: bool, name: str, width: int) -> None:
    outcome = replay(*LINES[name].split(), width=width)
    text = f"$ nano-replay --node S/core {LINES[name]}\n{outcome.out}{outcome.err}[{outcome.code}]\n"
    path = GOLDEN / f"{name}-{width}.txt"
    if regenerate:
        path.write_text(text)
    assert text == path.read_text(), f"{path.name} differs"
    assert all(len(line) <= width for line in outcome.out.splitlines())


def test_no_golden_file_is_left_over() -> None:
    assert {path.name for path in GOLDEN.glob("*")} == {f"{name}-{width}.txt" for name in LINES for width in (100, 60)}
