"""A real PostgreSQL server for tests and measurements: in a folder of its own, by an unprivileged user, on no network.

It listens on a socket in its folder only. Whoever started it ends it; should that process die first, the kernel tells the
server to stop. Its folder is removed with it.
"""

import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg

PORT: Final = 5432  # part of the socket's name
USER: Final = "nano"
LIMIT_S: Final = 60
READY: Final = b"ready to accept connections"


def programs() -> Path:
    """The folder of the newest server there is. Raises FileNotFoundError."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: float(path.parts[-3]))
    if not found:
        raise FileNotFoundError("There is no PostgreSQL server: apt-get install postgresql.")
    return found[-1].parent


class PostgresServer:
    """Made by ``postgres_server``; ``folder`` is where its socket is, which is also its ``host``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        # root may not run it
        self._as = ["setpriv", "--pdeathsig", "INT"]
        if not folder.stat().st_uid:
            user = pwd.getpwnam("postgres")
            shutil.chown(folder, user.pw_uid, user.pw_gid)
            self._as += [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]

    def make(self) -> None:
        """A new cluster, whose superuser is USER. Without a password the socket's folder is the protection."""
        options = ["--username", USER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync"]
        command = [*self._as, str(programs() / "initdb"), "--pgdata", str(self.folder / "data"), *options]
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder, timeout=LIMIT_S)

    def start(self, **settings: str) -> None:
        """Returns when it answers."""
        given = {"listen_addresses": "", "port": str(PORT), "unix_socket_directories": str(self.folder), **settings}
        words = [word for name, value in given.items() for word in ("-c", f"{name}={value}")]
        self._process = process = subprocess.Popen(
            [*self._as, str(programs() / "postgres"), "-D", str(self.folder / "data"), *words],
            stderr=subprocess.PIPE,
            cwd=self.folder,
        )
        assert process.stderr is not None
        said: list[str] = []
        for line in process.stderr:
            said.append(line.decode(errors="replace"))
            if READY in line:
                self._reader = threading.Thread(target=process.stderr.read, daemon=True)  # a full pipe would stop it
                self._reader.start()
                return
        raise RuntimeError("".join(said))

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: at once, but in order; SIGQUIT: as in a crash. May be called twice."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait(LIMIT_S)
            assert process.stderr is not None
            if self._reader is not None:
                self._reader.join()
            process.stderr.close()

    def execute(self, statement: str, *, database: str = "postgres") -> list[tuple[Any, ...]]:
        with psycopg.connect(
            host=str(self.folder), port=PORT, dbname=database, user=USER, autocommit=True
        ) as connection:
            cursor = connection.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []


@contextmanager
def postgres_server(**settings: str) -> Iterator[PostgresServer]:
    """A running one, gone with its folder afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="nano-pg."))
    server = PostgresServer(folder)
    try:
        server.make()
        server.start(**settings)
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
