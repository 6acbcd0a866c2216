"""Every command in the README works, in the order in which it stands there.

Fenced ``sh`` blocks are run one after another in one scratch zone, as a reader would type them. The few that can't be run here
are named below with the reason; whatever else a block says is run.
"""

import os
import random
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
BLOCK_TIMEOUT_S = 280.0
# First words of commands that are only looked at: (the clone is this one; these would run this very test, or take long).
NOT_RUN = ("git clone", "cd ", "./scripts/test", "./scripts/bench", "./.ci/run", ".ci/run", "./scripts/check")


def blocks(text: str) -> list[str]:
    """The fenced blocks marked ``sh``."""
    return re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)


def commands(block: str) -> list[str]:
    """Lines to run: without prompts and comments, continued lines joined."""
    joined = re.sub(r"\s*\\\n\s*", " ", block)
    lines = [re.sub(r"^\$ ", "", line).strip() for line in joined.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def adapted(command: str, port_base: int) -> str:
    """``up`` returns instead of staying, and keeps out of the way of a zone that runs on this machine."""
    if command.split("#", maxsplit=1)[0].split(maxsplit=1)[0] == "./scripts/up":
        return command.replace("./scripts/up", f"./scripts/up --detach --port-base {port_base}", 1)
    return command


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment in which a reader types: a state folder of one's own, the programs of .venv at hand."""
    state = tmp_path_factory.mktemp("readme") / "S"
    environment = {**os.environ, "NANO_STATE": str(state), "PATH": f"{ROOT}/.venv/bin:{os.environ['PATH']}"}
    yield environment
    subprocess.run([ROOT / "scripts/down", "--purge"], env=environment, capture_output=True, check=False, timeout=120)


def test_every_command_of_the_readme_works(surroundings: dict[str, str]) -> None:
    said = [command for block in blocks(README.read_text()) for command in commands(block)]
    assert any(command.startswith("./scripts/up") for command in said)
    assert any(command.startswith("./scripts/down") for command in said)
    port_base = random.randrange(30000, 32000)
    for command in said:
        if command.startswith(NOT_RUN):
            program = shlex.split(command)[0]
            assert not program.startswith((".", "scripts")) or os.access(ROOT / program, os.X_OK), (
                f"{program} is not there"
            )
            continue
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", adapted(command, port_base)],
            cwd=ROOT,
            env=surroundings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=BLOCK_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"$ {command}\n{done.stdout[-3000:]}"


def test_files_the_readme_links_to_exist() -> None:
    """Relative links and pictures; addresses on the network are not asked."""
    links = re.findall(r"\]\(([^)#\s]+)", README.read_text()) + re.findall(r'src="([^"]+)"', README.read_text())
    missing = [
        link for link in links if "://" not in link and not link.startswith("mailto:") and not (ROOT / link).exists()
    ]
    assert not missing


def test_blocks_are_read_as_typed() -> None:
    text = "```sh\n$ one \\\n    two  # why\n# a comment\n\nthree\n```\n```json\n{}\n```\n```sh\nfour\n```\n"
    assert [commands(block) for block in blocks(text)] == [["one two  # why", "three"], ["four"]]
    assert adapted("./scripts/up --no-demo", 7000) == "./scripts/up --detach --port-base 7000 --no-demo"
