"""Images in a real Core: files up and down in pieces, hostile files, cut connections, restarts, and what is left behind."""

import contextlib
import hashlib
import json
import os
import random
import socket
import struct
import subprocess
import threading
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nano.tools.testbed.zone import BIN, Zone, until

pytestmark = pytest.mark.timeout(200)


@pytest.fixture(scope="module")
def zone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zone]:
    """A Core alone."""
    zone = Zone(tmp_path_factory.mktemp("images"), "test:///default", 18260)
    zone.start("core")
    try:
        yield zone
    finally:
        zone.stop()


@pytest.fixture(autouse=True)
def clean(zone: Zone) -> Iterator[None]:
    """After each test: no open task, and no file but those of images."""
    yield
    for kind in ("image", "media"):
        for row in zone.ctl(kind, "list"):
            if row["task"]:
                zone.try_ctl("task", "cancel", row["task"])
    until(
        lambda: not [row for kind in ("image", "media") for row in zone.ctl(kind, "list") if row["task"]], "tasks end"
    )
    for kind in ("image", "media"):
        for row in zone.ctl(kind, "list"):
            zone.ctl(kind, "delete", row["name"])
    until(lambda: not kept(zone), "their files are gone", 10)


def kept(zone: Zone) -> list[str]:
    folder = zone.state / "core" / "data" / "images"
    return sorted(path.name for path in folder.glob("*")) if folder.exists() else []


def noise(path: Path, size: int) -> Path:
    path.write_bytes(random.Random(1).randbytes(size))
    return path


def qcow2(folder: Path, *words: str, size: str = "8M") -> Path:
    path = folder / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *words, str(path), size], check=True)
    return path


def iso(path: Path, size: int = 1 << 20) -> Path:
    data = bytearray(random.Random(2).randbytes(size))
    data[16 * 2048 : 16 * 2048 + 8] = b"\x01CD001\x01\x00"
    path.write_bytes(data)
    return path


def test_a_qcow2_goes_up_as_it_is_and_comes_back(zone: Zone, tmp_path: Path) -> None:
    raw = noise(tmp_path / "disk.raw", 3 << 20)
    path = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(path)], check=True)
    row = zone.ctl("image", "upload", "tiny", str(path), "--description", "three", "--tag", "a", "--wait")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (row["sha256"], row["size"], row["virtual_size"]) == (digest, path.stat().st_size, 3 << 20)
    assert (row["format"], row["description"], row["tags"], row["kept"]) == ("qcow2", "three", ["a"], True)
    assert kept(zone) == [f"{row['id']}.qcow2"]
    back = tmp_path / "back.qcow2"
    part = back.with_name(back.name + ".part")
    part.write_bytes(path.read_bytes()[: 1 << 20])  # of a download that broke
    assert zone.ctl("image", "download", "tiny", str(back))["sha256"] == digest
    assert back.read_bytes() == path.read_bytes()
    assert not part.exists()


def test_a_raw_disk_is_kept_as_qcow2(zone: Zone, tmp_path: Path) -> None:
    raw = noise(tmp_path / "disk.img", 5 << 20)
    row = zone.ctl("image", "upload", "converted", str(raw), "--wait")
    assert (row["format"], row["virtual_size"]) == ("qcow2", 5 << 20)
    (name,) = kept(zone)
    back = tmp_path / "again.raw"
    file = zone.state / "core" / "data" / "images" / name
    assert hashlib.sha256(file.read_bytes()).hexdigest() == row["sha256"]
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", str(file), str(back)], check=True)
    assert back.read_bytes() == raw.read_bytes()


def test_media_images(zone: Zone, tmp_path: Path) -> None:
    path = iso(tmp_path / "cd.iso")
    row = zone.ctl("media", "upload", "cd", str(path), "--wait")
    assert (row["format"], row["size"], row["sha256"]) == (
        "iso",
        1 << 20,
        hashlib.sha256(path.read_bytes()).hexdigest(),
    )
    zone.ctl("media", "edit", "cd", "--name", "disc", "--description", "<b>words</b>", "--tag", "x")
    shown = zone.ctl("media", "show", "disc")
    assert (shown["description"], shown["tags"]) == ("<b>words</b>", ["x"])
    assert [row["name"] for row in zone.ctl("media", "list", "--tag", "x")] == ["disc"]
    assert zone.ctl("image", "list") == []
    zone.ctl("media", "delete", "disc")
    until(lambda: not kept(zone), "its file goes too", 10)


def hostile(folder: Path) -> dict[str, tuple[bytes, str]]:
    """Name -> content, and the code it is refused with."""
    plain = qcow2(folder).read_bytes()
    base = folder / "base.raw"
    base.write_bytes(bytes(8 << 20))
    backed = qcow2(folder, "-b", str(base), "-F", "raw").read_bytes()
    (folder / "disk.qcow2").unlink()
    outside = qcow2(folder, "-o", f"data_file={folder / 'data'},data_file_raw=on").read_bytes()
    full = folder / "full.qcow2"
    noise(base, 2 << 20)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(base), str(full)], check=True)

    def with_field(offset: int, form: str, value: int) -> bytes:
        changed = bytearray(plain)
        struct.pack_into(form, changed, offset, value)
        return bytes(changed)

    return {
        "backed": (backed, "image_not_self_contained"),
        "cut-backed": (backed[:300], "image_not_self_contained"),
        "outside": (outside, "image_not_self_contained"),
        "absurd": (with_field(24, ">Q", 1 << 62), "image_size_absurd"),
        "empty-disk": (with_field(24, ">Q", 0), "image_size_absurd"),
        "large-table": (with_field(36, ">I", 0xFFFFFFFF), "image_size_absurd"),
        "clusters": (with_field(20, ">I", 60), "image_not_qcow2"),
        "version": (with_field(4, ">I", 77), "image_not_qcow2"),
        "encrypted": (with_field(32, ">I", 1), "image_encrypted"),
        "cut": (full.read_bytes()[: 1 << 20], "image_not_qcow2"),
        "cut-head": (plain[:40], "image_not_qcow2"),
        "vmdk": (b'# Disk DescriptorFile\nversion=1\nRW 1 FLAT "/etc/passwd" 0\n'.ljust(1024, b"\n"), "image_not_raw"),
        "vmdk-sparse": (b"KDMV".ljust(512, b"\0"), "image_not_raw"),
        "vhdx": (b"vhdxfile".ljust(512, b"\0"), "image_not_raw"),
        "odd": (b"x" * 700, "image_size_absurd"),
    }


def test_hostile_files_are_refused_and_leave_nothing(zone: Zone, tmp_path: Path) -> None:
    for name, (content, code) in hostile(tmp_path).items():
        path = tmp_path / name
        path.write_bytes(content)
        done = zone.try_ctl("image", "upload", name, str(path), "--wait")
        assert done.returncode == 1, f"{name}: {done.stdout}{done.stderr}"
        assert code in done.stdout + done.stderr, f"{name}: {done.stdout}{done.stderr}"
    done = zone.try_ctl("media", "upload", "disk", str(qcow2(tmp_path)), "--wait")
    assert "media_not_iso" in done.stdout + done.stderr
    assert zone.ctl("image", "list") == zone.ctl("media", "list") == []
    until(lambda: not kept(zone), "no file is left", 10)
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    assert "invalid_size" in zone.try_ctl("image", "upload", "empty", str(empty)).stderr


def test_files_in_the_folder_are_taken_in_and_hostile_ones_stay(zone: Zone, tmp_path: Path) -> None:
    intake = zone.state / "core" / "data" / "intake"
    qcow2(intake).rename(intake / "sys 1.qcow2")
    iso(intake / "disc.iso")
    (tmp_path / "secret.raw").write_bytes(b"s" * 512)
    (intake / "link.raw").symlink_to(tmp_path / "secret.raw")
    for name, (content, _) in hostile(tmp_path).items():
        (intake / f"{name}.img").write_bytes(content)
    codes = {f"{name}.img": code for name, (_, code) in hostile(tmp_path).items()}
    done = zone.try_ctl("image", "sync", "--wait")
    assert done.returncode == 1, done.stdout + done.stderr
    items = {
        item["name"]: (item["error"] or {}).get("code", item["state"]) for item in json.loads(done.stdout)["items"]
    }
    taken = {"sys 1.qcow2": "done", "disc.iso": "done"}
    assert items == {**codes, **taken, "link.raw": "image_not_a_file"}
    assert [row["name"] for kind in ("image", "media") for row in zone.ctl(kind, "list")] == ["sys_1", "disc"]
    assert sorted(path.name for path in intake.iterdir()) == sorted(items.keys() - taken.keys())
    for path in intake.iterdir():
        path.unlink()
    assert zone.ctl("image", "sync", "--wait")["items"] == []


def test_two_uploads_of_one_name_and_a_wrong_digest(zone: Zone, tmp_path: Path) -> None:
    path = noise(tmp_path / "disk.img", 1 << 20)
    begun = json.loads(api(zone, "POST", "/images/upload", {"name": "one", "size": 1 << 20, "format": "raw"}))
    refused = api(zone, "POST", "/images/upload", {"name": "one", "size": 5, "format": "raw"})
    assert json.loads(refused)["code"] == "duplicate_name"
    place = f"/images/{begun['resource'].partition('/')[2]}"
    assert json.loads(api(zone, "DELETE", place, None))["code"] == "image_not_ready"
    assert json.loads(api(zone, "POST", f"{place}/finish", {"sha256": "zz"}))["code"] == "invalid_digest"
    api(zone, "POST", f"{place}/finish", {"sha256": "0" * 64})
    until(lambda: zone.ctl("task", "show", begun["task"]["id"])["state"] == "failed", "the lie is found")
    assert zone.ctl("task", "show", begun["task"]["id"])["error"]["code"] == "image_damaged"
    zone.ctl("image", "upload", "one", str(path), "--wait")


def test_an_upload_goes_on_after_core_was_killed(zone: Zone, tmp_path: Path) -> None:
    path = noise(tmp_path / "disk.img", 24 << 20)
    begun = json.loads(api(zone, "POST", "/images/upload", {"name": "broken", "size": 24 << 20, "format": "raw"}))
    row = zone.ctl("image", "show", "broken")
    assert (row["wanted"], row["task"]) == (24 << 20, begun["task"]["id"])
    client = subprocess.Popen(
        [
            str(BIN / "nanoctl"),
            "--state",
            str(zone.state),
            "image",
            "upload",
            "broken",
            str(path),
            "--wait",
            "-o",
            "json",
        ],
        stdout=subprocess.PIPE,
    )
    try:
        part = zone.state / "core" / "data" / "images" / f"{row['id']}.raw.part"
        until(lambda: part.exists() and part.stat().st_size > 0, "bytes arrive")
        zone.kill("core")
        zone.start("core")
        out, _ = client.communicate(timeout=90)
    finally:
        client.kill()
    assert client.returncode == 0
    assert json.loads(out)["virtual_size"] == 24 << 20


def test_a_cut_connection_costs_only_what_was_under_way(zone: Zone, tmp_path: Path) -> None:
    """Through a way to Core that cuts each connection after some megabytes."""
    path = noise(tmp_path / "disk.img", 20 << 20)
    with Cutter(18260, 6 << 20) as cutter:
        key = zone.state / "key"
        key.write_text(_key(zone))
        words = ("--api", f"http://127.0.0.1:{cutter.port}", "--key-id", "nanoctl", "--key-file", str(key))
        done = zone.try_ctl(*words, "image", "upload", "cut", str(path), "--wait")
    assert done.returncode == 0, done.stdout + done.stderr
    assert cutter.cuts >= 3
    assert json.loads(done.stdout)["virtual_size"] == 20 << 20


def test_a_cancelled_upload_gives_all_back(zone: Zone) -> None:
    begun = json.loads(api(zone, "POST", "/media", {"name": "half", "size": 1 << 30}))
    zone.ctl("task", "cancel", begun["task"]["id"])
    until(lambda: zone.ctl("task", "show", begun["task"]["id"])["state"] == "cancelled", "it ends")
    assert zone.ctl("media", "list") == []
    answer = json.loads(api(zone, "GET", f"/media/{begun['resource'].partition('/')[2]}/received", None))
    assert answer["code"] == "unknown_media"


def test_more_than_the_disk_has_is_refused(zone: Zone) -> None:
    free = os.statvfs(zone.state)
    begun = json.loads(api(zone, "POST", "/media", {"name": "vast", "size": (free.f_bavail + 10**6) * free.f_frsize}))
    until(lambda: zone.ctl("task", "show", begun["task"]["id"])["state"] == "failed", "it ends")
    assert zone.ctl("task", "show", begun["task"]["id"])["error"]["code"] == "disk_full"


def api(zone: Zone, method: str, path: str, body: object) -> str:
    words = ["api", method, f"/api/v2{path}", *(["-d", json.dumps(body)] if body is not None else [])]
    done = subprocess.run(
        [str(BIN / "nanoctl"), "--state", str(zone.state), *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout


def _key(zone: Zone) -> str:
    found = tomllib.loads((zone.state / "core" / "config" / "credentials.toml").read_text())
    return str(next(one["key"] for one in found["credential"] if one["id"] == "nanoctl"))


class Cutter:
    """Passes connections on to a port of this machine, and cuts each after so many bytes from the client."""

    def __init__(self, port: int, after: int) -> None:
        self.cuts = 0
        self._to = port
        self._after = after
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> "Cutter":
        self._run(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def _run(self, work: Callable[..., None], *arguments: object) -> None:
        self._threads.append(threading.Thread(target=work, args=arguments, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._run(self._serve, self._listener.accept()[0])

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._to)) as server:
            back = threading.Thread(target=self._pass, args=(server, client, 1 << 62), daemon=True)
            back.start()
            self.cuts += self._pass(client, server, self._after)
            back.join()

    @staticmethod
    def _pass(source: socket.socket, target: socket.socket, most: int) -> bool:
        """Whether it was cut."""
        total = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                total += len(data)
                if total > most:
                    break
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        return total > most
