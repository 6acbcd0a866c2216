"""Bundles: they replay elsewhere as the journal did, a redacted one without its names, and one that lies is refused."""

import tempfile
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nano.journal.line import NO_HASH, Body, Entry, encode_line
from nano.tools.replay import exits

CELL = "Cell_0a1b2c3d4e5f"
Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where bundles are unpacked; nothing may be left there."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def bundle(replay: Run, node: Path, tmp_path: Path) -> Path:
    path = tmp_path / "out.zip"
    outcome = replay("export", str(path))
    assert outcome.code == 0, outcome.err
    return path


@pytest.fixture
def read(replay: Run) -> Run:
    def run(bundle: Path, *words: str) -> Any:
        return replay("--bundle", str(bundle), *words, folder=None)

    return run


def contents(bundle: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(bundle) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def resealed(files: dict[str, bytes], **changed: Any) -> dict[str, bytes]:
    """With a manifest that fits: what somebody makes who means it."""
    manifest = msgspec.json.decode(files["manifest.json"])
    manifest["files"] = [
        {"name": name, "size": len(data), "sha256": sha256(data).hexdigest()}
        for name, data in files.items()
        if name != "manifest.json"
    ]
    return {**files, "manifest.json": msgspec.json.encode({**manifest, **changed})}


def lines_of(*entries: tuple[str, dict[str, Any]]) -> tuple[bytes, str]:
    """A log with a good chain, and its head."""
    text, head = b"", NO_HASH
    for position, (resource, event) in enumerate(entries, start=1):
        body = Body(position, "2026-11-21T03:00:00.000000Z", 1, "admin", "", "", "", (Entry(resource, 1, event),))
        line, head = encode_line(head, body)
        text += line
    return text, head.decode()


def refused(outcome: Any, bundle: Path, scratch: Path) -> str:
    assert outcome.code == exits.DAMAGED, (outcome.out, outcome.err)
    assert outcome.out == ""
    assert f"The bundle {bundle}" in outcome.err
    assert "byte " in outcome.err
    assert list(scratch.iterdir()) == []
    return str(outcome.err)


# ---------------------------------------------------------------------- what it gives


@pytest.mark.parametrize(
    "words", ["log", "state", "stats --top 3", "show guest/web", "diff --at 5", "why guest/web.power"]
)
def test_every_verb_says_the_same_of_a_bundle(
    replay: Run, read: Run, bundle: Path, node: Path, scratch: Path, words: str
) -> None:
    assert read(bundle, *words.split(), "-o", "json").json == replay(*words.split(), "-o", "json").json
    assert list(scratch.iterdir()) == []


def test_the_same_log_byte_for_byte_with_seals(replay: Run, read: Run, many_segments: Path, tmp_path: Path) -> None:
    path = tmp_path / "many.zip"
    (told,) = replay("export", str(path), "-o", "json", folder=many_segments).json
    commits = {f"commits/{file.name}": file.read_bytes() for file in (many_segments / "data/journal/commits").iterdir()}
    assert {name: data for name, data in contents(path).items() if name.startswith("commits/")} == commits
    assert (told["first"], told["last"], told["redacted"]) == (1, 38, False)
    assert told["head"] == told["original_head"]
    assert read(path, "verify").code == 0
    into = tmp_path / "imported"
    assert read(path, "import", str(into)).code == 0
    assert {f"commits/{f.name}": f.read_bytes() for f in (into / "data/journal/commits").iterdir()} == commits
    assert replay("verify", folder=into).code == 0
    assert read(path, "import", str(into)).code == exits.REFUSED, "there is something now"
    (again,) = replay("export", str(tmp_path / "again.zip"), "-o", "json", folder=into).json
    assert again["files"] == told["files"]


def test_a_slice_goes_on_from_its_start(replay: Run, read: Run, tmp_path: Path) -> None:
    path = tmp_path / "slice.zip"
    (told,) = replay("export", str(path), "--from", "8", "--to", "23", "-o", "json").json
    assert (told["first"], told["last"]) == (7, 23), "whole transactions"
    whole = [record["state"] for record in replay("state", "--at", "23", "-o", "json").json]
    assert [record["state"] for record in read(path, "state", "-o", "json").json] == whole
    assert [fact["position"] for fact in read(path, "log", "-o", "json").json] == list(range(7, 24))
    assert read(path, "verify").code == 0
    assert read(path, "why", "guest/web.power").code == 0
    outcome = read(path, "import", str(tmp_path / "no"))
    assert (outcome.code, (tmp_path / "no").exists()) == (exits.REFUSED, False)
    inner = tmp_path / "inner.zip"
    outcome = read(path, "export", "--redact", "--from", "15", str(inner))
    assert outcome.code == 0, outcome.err
    assert read(inner, "verify").code == 0
    first = tmp_path / "first.zip"
    (told,) = replay("export", str(first), "--from", "1", "--to", "4", "-o", "json").json
    assert (told["first"], told["last"]) == (1, 4)
    assert "start.json" not in contents(first)


def test_a_slice_of_nothing(replay: Run, tmp_path: Path) -> None:
    for words in (("--from", "39"), ("--from", "20", "--to", "10"), ("--from", "0"), ("--to", "x")):
        outcome = replay("export", str(tmp_path / "x.zip"), *words)
        assert (outcome.code, (tmp_path / "x.zip").exists()) == (exits.REFUSED, False), outcome


def test_a_file_that_is_there_stays(replay: Run, bundle: Path) -> None:
    before = bundle.read_bytes()
    assert replay("export", str(bundle)).code == exits.REFUSED
    assert bundle.read_bytes() == before


def test_sources(replay: Run, read: Run, bundle: Path, node: Path, tmp_path: Path) -> None:
    assert replay("import", str(tmp_path / "x")).code == exits.REFUSED
    assert read(bundle, "log", "--node", str(node)).code == exits.REFUSED
    assert read(tmp_path / "none.zip", "log").code == exits.REFUSED
    assert read(bundle, "log", "-f").code == 0, "nothing will ever come"


# ---------------------------------------------------------------------- redacted


def test_a_redacted_bundle_holds_no_name_and_has_a_chain_of_its_own(
    replay: Run, read: Run, bundle: Path, tmp_path: Path
) -> None:
    path = tmp_path / "redacted.zip"
    (told,) = replay("export", "--redact", str(path), "-o", "json").json
    everything = b"\n".join(contents(path).values()).decode()
    for word in ('"admin"', '"eve"', '"web"', '"db"', '"fast', CELL, "0a1b2c3d4e5f", "10.90.0.12", "127.0.0.1", "52:54:00",
                 "ab12cd34", "Core_aabbccddeeff"):  # fmt: skip
        assert word not in everything, word
    manifest = msgspec.json.decode(contents(bundle)["manifest.json"])
    assert told["original_head"] == manifest["head"] != told["head"]
    assert told["redacted"] is True
    assert read(path, "verify").code == 0
    before, after = (read(file, "log", "-o", "json").json for file in (bundle, path))
    same = ("position", "at", "version", "epoch")
    assert [[fact[field] for field in same] for fact in before] == [[fact[field] for field in same] for fact in after]
    assert [fact["event"]["type"] for fact in before] == [fact["event"]["type"] for fact in after]
    assert [set(fact["event"]) for fact in before] == [set(fact["event"]) for fact in after]
    facts = zip(before, after, strict=True)
    names = {
        (one["event"]["spec"]["name"], other["event"]["spec"]["name"]) for one, other in facts if "spec" in one["event"]
    }
    assert len(names) == 2, "web twice, db once: each has one pseudonym"
    assert read(path, "state").code == 0


def test_pseudonyms_are_the_same_with_the_same_key_only(replay: Run, tmp_path: Path) -> None:
    key = tmp_path / "key"
    paths = [tmp_path / f"{number}.zip" for number in range(3)]
    for path in paths[:2]:
        assert replay("export", "--redact", "--key", str(key), str(path)).code == 0
    assert replay("export", "--redact", str(paths[2])).code == 0
    one, two, other = ({n: d for n, d in contents(path).items() if n != "manifest.json"} for path in paths)
    assert one == two != other
    assert key.stat().st_mode & 0o777 == 0o600
    (tmp_path / "weak").write_text("short")
    assert replay("export", "--redact", "--key", str(tmp_path / "weak"), str(tmp_path / "w.zip")).code == exits.REFUSED


# ---------------------------------------------------------------------- one that lies


@pytest.mark.parametrize("keep", [0, 1, 100, -1, -30, -300])
def test_cut_short(read: Run, bundle: Path, scratch: Path, keep: int) -> None:
    bundle.write_bytes(bundle.read_bytes()[:keep])
    refused(read(bundle, "state"), bundle, scratch)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_bit_is_refused_or_changes_nothing(
    read: Run, bundle: Path, tmp_path: Path, scratch: Path, data: st.DataObject
) -> None:
    text = bytearray(bundle.read_bytes())
    at = data.draw(st.integers(0, len(text) - 1))
    text[at] ^= 1 << data.draw(st.integers(0, 7))
    changed = tmp_path / "changed.zip"
    changed.write_bytes(text)
    outcome = read(changed, "log", "-o", "json")
    if outcome.code == 0:  # a date or a flag of the container that says nothing of what is in it
        assert outcome.out == read(bundle, "log", "-o", "json").out
    else:
        refused(outcome, changed, scratch)


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/evil", "commits/../../evil.jsonl", "commits/1.jsonl", "resources/x", "C:\\x"]
)
def test_a_name_that_leads_elsewhere(read: Run, bundle: Path, tmp_path: Path, scratch: Path, name: str) -> None:
    bad = write(tmp_path / "bad.zip", resealed({**contents(bundle), name: b"evil"}))
    into = tmp_path / "into"
    assert "no place in a bundle" in refused(read(bad, "import", str(into)), bad, scratch)
    assert not into.exists()


def test_digests_sizes_and_lists(read: Run, bundle: Path, tmp_path: Path, scratch: Path) -> None:
    files = contents(bundle)
    log = next(name for name in files if name.endswith(".jsonl"))
    manifest = msgspec.json.decode(files["manifest.json"])
    bad = tmp_path / "bad.zip"

    def lie(why: str, changed: dict[str, bytes]) -> None:
        assert why in refused(read(write(bad, changed), "state"), bad, scratch)

    lie("SHA-256", {**files, log: files[log].replace(b"eve", b"bob")})
    lie("the manifest says", {**files, log: files[log] + b"\n"})
    lie("same files", {name: data for name, data in files.items() if name != "node.json"})
    lie("no manifest", {name: data for name, data in files.items() if name != "manifest.json"})
    lie("no manifest", {**files, "manifest.json": b"[]"})
    lie("does not follow", resealed({**files, log: files[log].replace(b"eve", b"bob")}))
    last = files[log].rstrip(b"\n").rfind(b"\n") + 1
    lie("does not end where it says", resealed({**files, log: files[log][:last]}))
    huge = [{**file, "size": 1 << 60} if file["name"] == log else file for file in manifest["files"]]
    lie("the manifest says", {**files, "manifest.json": msgspec.json.encode({**manifest, "files": huge})})


def test_absurd_sizes_are_seen_before_anything_is_unpacked(read: Run, bundle: Path, scratch: Path) -> None:
    """Its directory claims a terabyte for each file."""
    with zipfile.ZipFile(bundle, "a") as archive:
        for info in archive.infolist():
            info.file_size = 1 << 40
        archive._didModify = True  # type: ignore[attr-defined]
    assert "claims more than" in refused(read(bundle, "state"), bundle, scratch)


def test_a_newer_format(read: Run, bundle: Path, tmp_path: Path, scratch: Path) -> None:
    files = contents(bundle)
    manifest = msgspec.json.decode(files["manifest.json"])
    newer = msgspec.json.encode({**manifest, "version": 2, "more": True})
    bad = write(tmp_path / "new.zip", {**files, "manifest.json": newer})
    assert "bundle_unreadable" in refused(read(bad, "state"), bad, scratch)


def test_another_kind_of_node(read: Run, bundle: Path, tmp_path: Path, scratch: Path) -> None:
    files = contents(bundle)
    bad = tmp_path / "bad.zip"
    card = {"kind": "cell", "name": "Core_aabbccddeeff"}
    write(bad, resealed(files, node=card))
    assert "not the node that the manifest names" in refused(read(bad, "state"), bad, scratch)
    write(bad, resealed({**files, "node.json": msgspec.json.encode(card)}, node=card))
    assert "kept by a core" in refused(read(bad, "state"), bad, scratch)
    write(bad, resealed(files, node={"kind": "../x", "name": "y"}))
    assert "no kind of node" in refused(read(bad, "state"), bad, scratch)


@pytest.mark.parametrize("resource", ["guest/../../../evil", "guest/..", "/etc/x", "guest/a/b", "guest/" + "x" * 300])
def test_a_resource_whose_journal_would_lie_elsewhere(
    read: Run, bundle: Path, tmp_path: Path, scratch: Path, resource: str
) -> None:
    """Everything else about it is right, the chain too."""
    log, head = lines_of((resource, {"type": "guest.deleted"}))
    files = {name: data for name, data in contents(bundle).items() if not name.startswith("commits/")}
    files["commits/0000000000000001.jsonl"] = log
    bad = write(tmp_path / "bad.zip", resealed(files, head=head, last=1, transactions=1))
    assert "no name of a resource" in refused(read(bad, "import", str(tmp_path / "into")), bad, scratch)
    assert not list(tmp_path.rglob("evil*"))
