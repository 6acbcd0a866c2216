"""An upload of 1 GiB through Core, against what nginx takes in over TLS, and over HTTP, on loopback

Ours is nanoctl's own connection: signed requests of 64 MiB each, whose bytes Core digests and writes while they come; the time is
until Core has them all. The digest, the check and the end of the task come after it and are told apart. Nginx is given the
same file by curl, one PUT to its DAV module over TLS 1.3 and one over HTTP, in turns. Core's API speaks HTTP on loopback, so HTTP
is like for like; where Core is reached from elsewhere, a proxy in front of it has the cost of TLS. Nginx takes no digest of what
comes. Memory is Core's, beyond what it had before.
"""

import hashlib
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nano.tools.nanoctl.place import connect
from nano.tools.nanoctl.uploads import FileDigest, Piece
from nano.tools.testbed.memory import Peak
from nano.tools.testbed.zone import Zone, until
from tests.bench.image_clone import ended, full_image

ROOT = Path(__file__).parents[2]
ROUNDS = 3
PORT = 17750
PIECE_BYTES = 64 << 20
CONFIG = """
daemon off; pid {folder}/pid; error_log {folder}/log; worker_processes 1; user root;
events {{ worker_connections 64; }}
http {{
  access_log off; client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/t1; fastcgi_temp_path {folder}/t2; uwsgi_temp_path {folder}/t3; scgi_temp_path {folder}/t4;
  server {{
    listen 127.0.0.1:{plain}; listen 127.0.0.1:{port} ssl;
    ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem; ssl_protocols TLSv1.3;
    root {folder}/files; client_max_body_size 2g; dav_methods PUT;
  }}
}}
"""


def run() -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="nano-bench-"))
    zone = Zone(folder, "test:///default", PORT)
    try:
        zone.start("core")
        file = folder / "image.qcow2"
        full_image(file)
        with _nginx(folder / "nginx", PORT + 5, PORT + 6) as (secure, plain):
            return _measure(zone, folder, file, secure, plain)
    finally:
        zone.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _measure(zone: Zone, folder: Path, file: Path, secure: str, plain: str) -> dict[str, Any]:
    sent, whole, theirs, unsecured, peaks = [], [], [], [], []
    for _ in range(ROUNDS):
        with Peak(zone.pid("core")) as peak:
            times = _upload(folder, file)
        sent.append(times[0])
        whole.append(times[1])
        peaks.append(peak.bytes)
        zone.ctl("image", "delete", "big")
        theirs.append(_put(file, secure, folder))
        unsecured.append(_put(file, plain, folder))
    size = file.stat().st_size / 1e6
    ratio = statistics.median(theirs) / statistics.median(sent)
    return {
        "through Core": {"value": round(size / statistics.median(sent)), "unit": "MB/s"},
        "nginx over TLS": {"value": round(size / statistics.median(theirs)), "unit": "MB/s"},
        "nginx over HTTP": {"value": round(size / statistics.median(unsecured)), "unit": "MB/s"},
        "of nginx's over HTTP": {"value": round(statistics.median(unsecured) / statistics.median(sent), 2)},
        "of nginx's over TLS": {"value": round(ratio, 2), "reach": "≥ 0.35", "ok": ratio >= 0.35},
        "until checked and registered": {"value": round(statistics.median(whole), 2), "unit": "s"},
        "memory of Core, beyond what it had": {
            "value": round(max(peaks) / 2**20, 1),
            "unit": "MiB",
            "reach": "< 64 MiB",
            "ok": max(peaks) < 64 << 20,
        },
    }


def _upload(state: Path, file: Path) -> tuple[float, float]:
    """Seconds until Core has all bytes, and until the image is there."""
    client = connect(state=state)
    size = file.stat().st_size
    body = {"name": "big", "size": size, "format": "qcow2"}
    began = time.perf_counter()
    answer = client.call("POST", "/api/v2/images/upload", body=body).value
    place = f"/api/v2/images/{answer['resource'].partition('/')[2]}"
    with file.open("rb") as stream:
        digest = FileDigest(stream)
        for at in range(0, size, PIECE_BYTES):
            length = min(PIECE_BYTES, size - at)
            piece = Piece(stream, at, length, digest, lambda *_: None)
            client.put(f"{place}/content", query={"offset": at}, body=piece, length=length)
        sent = time.perf_counter() - began
        client.call("POST", f"{place}/finish", body={"sha256": digest.hex()})
    ended(client, answer["task"]["id"])
    return sent, time.perf_counter() - began


def _put(file: Path, url: str, folder: Path) -> float:
    certificate = folder / "nginx" / "cert.pem"
    command: list[str | Path] = ["curl", "-sS", "--fail", "--cacert", certificate, "-T", file]
    began = time.perf_counter()
    subprocess.run([*command, f"{url}/image"], check=True)
    took = time.perf_counter() - began
    stored = folder / "nginx" / "files" / "image"
    with stored.open("rb") as stream:
        assert hashlib.file_digest(stream, "sha256").hexdigest()
        assert stored.stat().st_size == file.stat().st_size
    stored.unlink()
    return took


@contextmanager
def _nginx(folder: Path, port: int, plain: int) -> Iterator[tuple[str, str]]:
    """Its addresses, over TLS and over HTTP."""
    (folder / "files").mkdir(parents=True)
    (folder / "nginx.conf").write_text(CONFIG.format(folder=folder, port=port, plain=plain))
    made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    made += " -addext subjectAltName=IP:127.0.0.1"
    files: list[str | Path] = ["-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    subprocess.run([*made.split(), *files], check=True, capture_output=True)
    unpacked = ROOT / ".venv" / "bench" / "usr" / "sbin" / "nginx"
    program = shutil.which("nginx") or str(unpacked)
    server = subprocess.Popen([program, "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "log"])
    try:
        until(lambda: (folder / "pid").exists() or server.poll() is not None, "nginx listens")
        assert server.poll() is None, (folder / "log").read_text()
        yield f"https://127.0.0.1:{port}", f"http://127.0.0.1:{plain}"
    finally:
        server.terminate()
        server.wait(10)
