"""``scripts/setup.sh``: what it finds missing, run as the scripts run it (errors end the script, in pipes too)."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def bash(script: str, *, cwd: Path = ROOT, path: str = os.environ["PATH"]) -> subprocess.CompletedProcess[str]:
    command = ["/bin/bash", "-euo", "pipefail", "-c", f"source {ROOT}/scripts/setup.sh\n{script}"]
    environment = {**os.environ, "PATH": path}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_only_missing_packages_are_named() -> None:
    found = bash("missing_packages bash no-such-package coreutils lib-no-such")
    assert (found.returncode, found.stdout.split()) == (0, ["no-such-package", "lib-no-such"])


def test_nothing_is_said_or_done_when_nothing_is_missing() -> None:
    done = bash("packages_nothing=(bash coreutils)\nsetup_packages nothing")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_set_has_packages() -> None:
    for name in ("runtime", "image", "test"):
        assert bash(f'echo "${{packages_{name}[@]}}"').stdout.split(), name


def test_a_machine_of_another_kind_is_told_kindly(tmp_path: Path) -> None:
    done = bash("setup_packages runtime", path=str(tmp_path))
    assert done.returncode == 1
    assert "Debian 12 or Ubuntu" in done.stderr


def test_the_stamp_answers_for_level_digest_and_place(tmp_path: Path) -> None:
    """A moved clone, other requirements or a smaller installation all count as not there."""
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.touch(mode=0o755)
    (tmp_path / ".venv/nano-cell").write_text(f"abc {tmp_path}\n")
    for script, code in (("venv_is cell abc", 0), ("venv_is cell abd", 1), ("venv_is dev abc", 1)):
        assert bash(script, cwd=tmp_path).returncode == code
    (tmp_path / ".venv/nano-cell").write_text("abc /elsewhere\n")
    assert bash("venv_is cell abc", cwd=tmp_path).returncode == 1
