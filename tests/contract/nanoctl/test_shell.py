"""The program as a process: bash completes with it, a reader may go away, and it starts quickly."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nano.tools.nanoctl import exits

NANOCTL = Path(sys.executable).with_name("nanoctl")

COMPLETE = r"""
set -u
nanoctl() { "$NANOCTL" "$@"; }
source <("$NANOCTL" completion bash)
COMP_WORDS=("$@")
COMP_CWORD=$(( $# - 1 ))
_nanoctl
printf '%s\n' "${COMPREPLY[@]}"
"""


def run(words: list[str], state: Path, **more: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NANO_STATE": str(state), "NANOCTL": str(NANOCTL), "COLUMNS": "100"}
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False, **more)


def complete(state: Path, *words: str) -> list[str]:
    done = run(["bash", "--norc", "-c", COMPLETE, "bash", "nanoctl", *words], state, cwd=state)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_bash_completes_nouns_verbs_options_and_names(state: Path) -> None:
    assert complete(state, "gu") == ["guest"]
    assert complete(state, "guest", "f") == ["force-stop", "force-reboot"]
    assert "--memory" in complete(state, "guest", "create", "web", "--m")
    assert complete(state, "guest", "show", "") == ["db", "mail", "web"]
    assert complete(state, "-o", "json", "guest", "start", "w") == ["web"]
    assert complete(state, "guest", "create", "x", "--image", "") == ["debian12"]
    (state / "tiny.qcow2").touch()
    assert complete(state, "image", "register", "tiny", "ti") == ["tiny.qcow2"]


def test_completion_without_a_core_is_silent(tmp_path: Path) -> None:
    done = run(["bash", "--norc", "-c", COMPLETE, "bash", "nanoctl", "guest", "show", ""], tmp_path, cwd=tmp_path)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")


def test_a_reader_that_goes_away_is_no_error(state: Path, api: Any) -> None:
    row = api.rows["guests"][0]
    api.rows["guests"] = [row] * 5000
    done = run(["bash", "-o", "pipefail", "-c", '"$NANOCTL" guest list -o wide | head -1'], state)
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.startswith("NAME")


def test_interrupting_a_wait_leaves_the_task(state: Path, api: Any) -> None:
    row = api.rows["tasks"][0]
    api.answer("POST", "/guests/web/stop", {"task": row, "resource": row.resource, "position": 100}, 202)
    waiting = threading.Event()
    api.hold = threading.Event()
    api.on_stream = waiting.set
    process = subprocess.Popen(
        [str(NANOCTL), "--state", str(state), "guest", "stop", "web"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert waiting.wait(20)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (exits.INTERRUPTED, "")
    assert "the task goes on. Follow it: nanoctl task watch 7e5d3c1b" in err
    assert "Traceback" not in err


def test_letters_that_the_output_can_not_encode(state: Path, api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    api.rows["guests"] = [msgspec.structs.replace(api.rows["guests"][0], note="关机 “x”")]
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    listed = run([str(NANOCTL), "guest", "list", "-o", "wide"], state)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert "o stopped" in listed.stdout
    told = run([str(NANOCTL), "guest", "list", "-o", "json"], state)
    assert msgspec.json.decode(told.stdout)[0]["note"] == "关机 “x”"


def test_no_words_and_help_are_help(state: Path) -> None:
    for words in ((), ("help",), ("--help",)):
        done = run([str(NANOCTL), *words], state)
        assert done.returncode == 0
        assert "exit codes:" in done.stdout
    assert "usage: nanoctl guest create NAME" in run([str(NANOCTL), "help", "guest", "create"], state).stdout


def test_nothing_is_coloured_in_a_pipe(state: Path) -> None:
    done = run([str(NANOCTL), "guest", "list"], state)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout


def test_a_start_loads_neither_a_loop_nor_an_http_framework(state: Path) -> None:
    """What a start costs is what it imports; rich is only for what moves."""
    code = (
        "import sys; from nano.tools.nanoctl.main import main; main(sys.argv[1:]);"
        "print(sorted({'httpx', 'asyncio', 'anyio', 'rich', 'starlette', 'cryptography'} & set(sys.modules)), file=sys.stderr)"
    )
    assert run([sys.executable, "-c", code, "guest", "list"], state).stderr == "[]\n"


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_scripts(state: Path, shell: str) -> None:
    script = run([str(NANOCTL), "completion", shell], state).stdout
    assert "__complete" in script
    assert f"source <(nanoctl completion {shell})" in script
