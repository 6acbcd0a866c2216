"""verify: 0 for a whole journal, 1 with file and byte for a damaged one; and what other verbs make of damage."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from nano.journal.disk import RealDisk
from nano.journal.owner import journal_id, write_owner
from nano.tools.replay import checking, exits
from nano.tools.replay import main as program
from nano.tools.replay.checking import certificate_check
from nano.tools.replay.grammar import EXAMPLES
from nano.tools.replay.node import Node
from nano.transports.identity import load_or_create
from nano.transports.journal_signer import JournalSigner


def segment(node: Path) -> Path:
    (path,) = (node / "data" / "journal" / "commits").glob("*.jsonl")
    return path


def change_byte(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def test_a_whole_journal(replay: Any) -> None:
    outcome = replay("verify", "-o", "json")
    assert outcome.code == 0
    (report,) = outcome.json
    assert report["whole"] is True
    assert (report["node"], report["kind"], report["position"]) == ("Core_aabbccddeeff", "core", 38)


def test_a_changed_byte_is_named(replay: Any, node: Path) -> None:
    path = segment(node)
    lines = path.read_bytes().splitlines(keepends=True)
    start = len(b"".join(lines[:5]))
    change_byte(path, start + 40)
    outcome = replay("verify")
    assert outcome.code == 1
    assert "✗ damaged" in outcome.out
    assert f"{path}, byte {start}: " in outcome.out, "on one line, however long"
    (report,) = replay("verify", "-o", "json").json
    assert report["whole"] is False
    assert (report["damage"]["file"], report["damage"]["byte"]) == (str(path), start)


def test_a_resource_journal_that_lies(replay: Any, node: Path) -> None:
    path = node / "data" / "journal" / "resources" / "compute_pool" / "fast.jsonl"
    change_byte(path, 12)
    outcome = replay("verify", width=60)
    assert outcome.code == 1
    assert f"{path}, byte " in outcome.out


def test_reading_stops_at_the_damage_and_names_it(replay: Any, node: Path) -> None:
    path = segment(node)
    change_byte(path, len(path.read_bytes()) - 100)
    for words in (("log",), ("show", "guest/web"), ("state",)):
        outcome = replay(*words)
        assert outcome.code == exits.DAMAGED
        assert str(path) in outcome.err
        assert "byte" in outcome.err
    assert replay("log", "--until", "3").code == 0


def test_no_journal(replay: Any, tmp_path: Path) -> None:
    outcome = replay("verify", folder=tmp_path)
    assert outcome.code == exits.REFUSED
    assert "--node STATE/core" in outcome.err


@pytest.mark.parametrize(
    "words", [("verify", "--frob"), ("check",), ("log", "-o", "xml"), ("log", "--since", "tomorrow")]
)
def test_wrong_words(replay: Any, words: tuple[str, ...]) -> None:
    outcome = replay(*words)
    assert (outcome.code, outcome.out) == (exits.REFUSED, "")
    assert outcome.err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("-o json", "usage"),
        ("verify --frob -o json", "usage"),
        ("--output=json check", "usage"),
        ("-ojson export --from no x.zip", "usage"),
        ("show guest/nobody -o json", "no_such_history"),
        ("log --since tomorrow -o json", "invalid_moment"),
        ("--backup nowhere -o json log", "too_many_sources"),
    ],
)
def test_for_programs_every_refusal_is_one_line(replay: Any, words: str, code: str) -> None:
    outcome = replay(*words.split())
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (exits.REFUSED, "", 1)
    told = msgspec.json.decode(outcome.err)
    assert told["code"] == code
    assert told["message"].endswith(".")
    assert told["hint"]


@pytest.mark.parametrize(
    "words",
    [
        *("log|--since|99999999999d", "log|--since|²", "log|--until|9999-12-31T23:59:59-14:00", "log|--since|"),
        *("state|--at|0000-01-01", "state|--at|" + "9" * 5000, "diff|--at|", "log|--resource|", "log|--type| "),
        *("stats|--top|²", "export|--from|²|x.zip", "export|--from|9|--to|2|x.zip", "export|no/folder/x.zip"),
        *(
            "show|" + "a" * 10_000,
            "why|" + "a" * 10_000,
            "state|" + "a" * 10_000,
            "rebuild|/proc/x",
            "backup|/dev/null",
        ),
    ],
)
def test_nonsense_is_refused_with_what_to_do(
    replay: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    outcome = replay(*words.split("|"), "-o", "json")
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (exits.REFUSED, "", 1)
    told = msgspec.json.decode(outcome.err)
    assert told["hint"]
    assert len(told["message"]) < 300
    assert sorted(tmp_path.iterdir()) == before


def test_what_is_read_is_never_written_to(replay: Any, node: Path, tmp_path: Path) -> None:
    before = sorted(node.rglob("*"))
    for words in (
        ("export", str(node / "x.zip")),
        ("export", "--redact", "--key", str(node / "key"), str(tmp_path / "x.zip")),
        ("backup", str(node / "backups")),
        ("rebuild", str(node / "new")),
    ):
        outcome = replay(*words)
        assert (outcome.code, "which is only read" in outcome.err) == (exits.REFUSED, True), words
    assert sorted(node.rglob("*")) == before
    assert not (tmp_path / "x.zip").exists()


def test_where_nothing_is_found_that_is_said(replay: Any) -> None:
    assert "No fact fits." in replay("log", "--type", "guest.stolen").err
    assert "The journal ends at position 38." in replay("state", "--at", "39").err
    assert "The journal ends at position 38." in replay("diff", "--at", "1", "--at", "1000").err
    assert "ends at" not in replay("state", "--at", "38").err


def test_what_is_not_damage_never_ends_as_damage(
    replay: Any, node: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A folder that may not be read or written, and a defect of this program."""
    for error, told in ((PermissionError, "no_access"), (OSError, "failed")):
        monkeypatch.setattr(checking, "run", raising(error(5, "no", str(node))))
        outcome = replay("verify", "-o", "json")
        assert (outcome.code, msgspec.json.decode(outcome.err)["code"]) == (exits.REFUSED, told)
    (tmp_path / "file").write_text("")
    assert replay("backup", str(tmp_path / "file" / "b")).code == exits.REFUSED
    monkeypatch.setattr(checking, "run", raising(ValueError("a defect")))
    assert program.main(["--node", str(node), "verify"]) == exits.REFUSED
    assert "ValueError: a defect" in capfd.readouterr().err


def raising(error: Exception) -> Any:
    def run(*_: Any) -> int:
        raise error

    return run


def test_help_tells_two_examples_for_each_verb(replay: Any) -> None:
    for verb in EXAMPLES:
        outcome = replay(verb, "--help")
        assert outcome.code == 0
        examples = re.findall(rf"^  nano-replay --(?:node|bundle|backup) \S+ {verb}\b", outcome.out, re.MULTILINE)
        assert len(examples) >= 2
    assert replay("--help").out.count("nano-replay --node ~") == 2


def test_nothing_is_written(replay: Any, node: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in node.rglob("*")}
    out = str(node.parents[1] / "out")
    lines = ("verify", "log", "state", "show guest/web", "stats", "diff --at 5", "why zone/zone")
    for line in (*lines, f"export {out}.zip", f"rebuild {out}", f"backup {out}s"):
        assert replay(*line.split()).code == 0, line
    assert {path: path.stat().st_mtime_ns for path in node.rglob("*")} == before


def test_the_journal_folder_itself_may_be_named(node: Path) -> None:
    assert Node(node / "data" / "journal").journal == node / "data" / "journal"
    assert Node(node / "data" / "journal").kind == "core"


def test_signatures_are_checked_with_the_certificate(tmp_path: Path) -> None:
    identity = load_or_create(tmp_path, "core")
    check = certificate_check(tmp_path / "node.crt")
    assert check is not None
    signer = JournalSigner(identity)
    good = signer.sign(b"a seal")
    assert check(good, b"a seal", signer.key_id)
    assert not check(good, b"another", signer.key_id)
    other = ec.generate_private_key(ec.SECP256R1()).sign(b"a seal", ec.ECDSA(hashes.SHA256()))
    assert not check(other, b"a seal", signer.key_id)
    assert check(other, b"a seal", "a key this node had before")
    assert certificate_check(tmp_path / "none.crt") is None


def test_the_journal_of_another_node(replay: Any, node: Path) -> None:
    """Put under this node's keys, whole as it is."""
    mine = load_or_create(node / "config", "core")
    write_owner(
        RealDisk(),
        node / "data/journal",
        journal_id(RealDisk(), node / "data/journal/commits") or "",
        JournalSigner(mine),
    )
    assert replay("verify").code == 0
    (node / "config").rename(node / "elsewhere")
    load_or_create(node / "config", "core")
    outcome = replay("verify", "-o", "json")
    assert outcome.code == 1
    damage = outcome.json[0]["damage"]
    assert damage["file"] == str(node / "data/journal/owner")
    assert "rebuild" in damage["hint"]


def test_the_program(node: Path) -> None:
    nano_replay = Path(sys.executable).with_name("nano-replay")
    done = subprocess.run(
        [nano_replay, "--node", node, "verify"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    change_byte(segment(node), 30)
    done = subprocess.run(
        [nano_replay, "verify", "--node", node], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert str(segment(node)) in done.stdout
    piped = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{nano_replay} --node {node} log | head -1"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert piped.returncode in (0, exits.DAMAGED)
    assert "Traceback" not in piped.stderr
