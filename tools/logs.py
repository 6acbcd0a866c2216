"""Where a node's words go: a log file of plain lines, rotated by size, and a second file for what only a crash writes.

    2026-11-21T03:10:53.123Z INFO  nano.core cell is online name=Cell_0a1b2c3d4e5f

It configures the standard library's ``logging`` once per process; rooms only call ``logging.getLogger("nano.<room>")``.
"""

import datetime
import faulthandler
import logging
import os
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final

LOG_BYTES_MAX: Final = 8 << 20
LOG_FILES_KEPT: Final = 3
OUTPUT_BYTES_MAX: Final = 1 << 20


class _Line(logging.Formatter):
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002
        return datetime.datetime.fromtimestamp(record.created, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def configure(file: Path, *, to_terminal: bool) -> None:
    """Send every logger's lines (INFO and up; $NANO_LOG names another level) to the file, and to stderr if asked."""
    handlers: list[logging.Handler] = [
        RotatingFileHandler(file, maxBytes=LOG_BYTES_MAX, backupCount=LOG_FILES_KEPT, encoding="utf-8")
    ]
    if to_terminal:
        handlers.append(logging.StreamHandler(sys.stderr))
    for handler in handlers:
        handler.setFormatter(_Line("%(asctime)s %(levelname)-5s %(name)s %(message)s"))
    logging.basicConfig(level=os.environ.get("NANO_LOG", "INFO").upper(), handlers=handlers, force=True)
    # These libraries report every datagram or request at INFO; a node's log is about the node.
    for chatty in ("quic", "httpx", "httpcore", "uvicorn.access"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)


def redirect_output(file: Path) -> None:
    """Point stdin at nothing, stdout and stderr at the file (begun anew when large); fatal signals dump there too."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    if file.exists() and file.stat().st_size > OUTPUT_BYTES_MAX:
        flags |= os.O_TRUNC
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(file, flags, 0o644)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(nothing)
    os.close(output)
    faulthandler.enable()


def logger(name: str) -> logging.Logger:
    """The logger of a program: ``nano-core`` logs as ``nano.core``."""
    return logging.getLogger("nano." + name.removeprefix("nano-"))


def tail(file: Path, lines: int) -> str:
    """The last lines of a file, without reading more than 16 KiB of it; "" when it does not exist."""
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - 16384))
            return "\n".join(stream.read().decode(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""
