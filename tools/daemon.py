"""The frame of the node programs: ``start | stop | status | halt --state S [--foreground]``.

One frame for nano-core, nano-cell and nano-frontend, so that they behave alike:

* ``start`` returns when the node says it is ready (0, prints its message) or could not (1, prints why and the log's
  name). Starting what already runs succeeds. ``--foreground`` stays, logs to stderr, ends at Ctrl-C.
* ``stop`` sends SIGTERM and waits until the node is gone; ``halt`` kills at once. Both succeed when nothing runs.
* ``status`` exits 0 when it runs, 3 when not (the LSB's code for "stopped").

Invariant: at most one process per node folder. It is held by a lock beside the pid file for the process's whole life,
so a kill -9 leaves nothing to clean up. The background process is a fork taken before any thread or loop exists.

It does not know what a node is: that is ``serve``. It restarts nothing: a supervisor is the site's choice.
"""

import argparse
import contextlib
import fcntl
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import anyio
import anyio.abc

import nano
from nano.domain.errors import NanoError
from nano.tools import logs, processes
from nano.tools.state import default_state, make_node_folders, node_folder

Ready = Callable[[str], None]
Serve = Callable[[Path, Ready], Awaitable[None]]

GIVE_WAY_S: Final = 0.001  # how long a thread that computes (a look at the past) keeps the event loop from its turn
READY_TIMEOUT_S: Final = 120.0  # a replay of millions of events, or a first libvirt probe, must fit in
STOP_PATIENCE_S: Final = 30.0
STOPPED: Final = 3


def run_program(name: str, description: str, serve: Serve, argv: Sequence[str] | None = None) -> int:
    """Run one verb of the program ``name`` (``nano-core``); the exit code. ``serve(folder, ready)`` is the node: it
    gets its own folder below the state folder, calls ``ready(message)`` once it answers, and runs until cancelled."""
    parser = argparse.ArgumentParser(prog=name, description=description)
    parser.add_argument("--version", action="version", version=f"{name} {nano.__version__}")
    parser.add_argument("verb", choices=("start", "stop", "status", "halt"))
    parser.add_argument("--state", type=Path, default=default_state(), help="state folder (default: %(default)s)")
    parser.add_argument("--foreground", action="store_true", help="with start: stay here, log to the terminal")
    options = parser.parse_args(argv)
    program = Program(name, node_folder(options.state.absolute(), name), serve)
    match options.verb:
        case "start":
            return program.start_here() if options.foreground else program.start()
        case "stop":
            return program.stop()
        case "halt":
            return program.halt()
        case _:
            return program.status()


class Program:
    """One node program bound to its folder."""

    def __init__(self, name: str, folder: Path, serve: Serve) -> None:
        self.name = name
        self.folder = folder
        self._serve = serve
        self._pid_file = folder / "run" / f"{name}.pid"
        self._log_file = folder / "log" / f"{name}.log"
        self._crash_file = folder / "log" / f"{name}.out"

    def running(self) -> processes.ProcessId | None:
        process = processes.read_record(self._pid_file)
        return process if process and processes.is_alive(process) else None

    def start(self) -> int:
        if process := self.running():
            print(f"{self.name} already runs (pid {process.pid}).")
            return 0
        make_node_folders(self.folder)
        reading, writing = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        if (child := os.fork()) == 0:
            os.close(reading)
            _run_detached(lambda: self._background(writing))
        os.close(writing)
        os.waitpid(child, 0)
        return self._await_ready(reading)

    def start_here(self) -> int:
        make_node_folders(self.folder)
        logs.configure(self._log_file, to_terminal=True)
        return self._hold_and_serve(
            lambda text: print(f"{self.name} {nano.__version__}: {text}", flush=True), self._complain
        )

    def stop(self) -> int:
        process = self.running()
        if process is None:
            print(f"{self.name} does not run.")
            return 0
        processes.send_signal(process, signal.SIGTERM)
        if processes.wait_gone(process, STOP_PATIENCE_S):
            print(f"{self.name} stopped.")
            return 0
        print(
            f"{self.name} (pid {process.pid}) is still stopping after {STOP_PATIENCE_S:.0f} s. "
            f"End it with: {self.name} halt",
            file=sys.stderr,
        )
        return 1

    def halt(self) -> int:
        process = self.running()
        if process is None:
            print(f"{self.name} does not run.")
            return 0
        processes.send_signal(process, signal.SIGKILL)
        gone = processes.wait_gone(process, STOP_PATIENCE_S)
        print(f"{self.name} halted." if gone else f"{self.name} (pid {process.pid}) does not even end on SIGKILL.")
        return 0 if gone else 1

    def status(self) -> int:
        if process := self.running():
            print(f"{self.name} {nano.__version__} runs (pid {process.pid}).")
            return 0
        print(f"{self.name} does not run.")
        return STOPPED

    def _await_ready(self, reading: int) -> int:
        """What the background process said: "+message" or "-reason", or silence when it died."""
        with os.fdopen(reading, "rb") as pipe:
            heard = _read_until_closed(pipe.fileno(), READY_TIMEOUT_S)
        if heard is None:
            self._complain(f"it is not ready after {READY_TIMEOUT_S:.0f} s and goes on trying")
            return 1
        said = heard.decode(errors="replace")
        if said.startswith("+"):
            print(f"{self.name} {nano.__version__}: {said[1:]}")
            return 0
        if said.startswith("-"):
            self._complain(said[1:])
            return 1
        if process := self.running():  # the kernel closes what a process has open before it is gone
            processes.wait_gone(process, STOP_PATIENCE_S)
        self._complain("it ended without a word. Last lines of its output:\n" + logs.tail(self._crash_file, 15))
        return 1

    def _complain(self, reason: str) -> None:
        print(f"{self.name} did not start: {reason}\nLog: {self._log_file}", file=sys.stderr)

    def _background(self, writing: int) -> int:
        """In the new process: nothing of the terminal is kept, and the pipe is closed after the first word."""

        def say(word: str) -> None:
            nonlocal writing
            if writing >= 0:
                with contextlib.suppress(BrokenPipeError):  # whoever started us did not wait; the node lives on
                    os.write(writing, word.encode()[:4000])  # below PIPE_BUF: never blocks, never torn
                os.close(writing)
                writing = -1

        logs.redirect_output(self._crash_file)
        logs.configure(self._log_file, to_terminal=False)
        return self._hold_and_serve(lambda text: say("+" + text), lambda text: say("-" + text))

    def _hold_and_serve(self, ready: Ready, failed: Callable[[str], None]) -> int:
        log = logs.logger(self.name)
        descriptor = os.open(self._pid_file.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            failed("another process of this node holds its folder.")
            return 1
        me = processes.identify(os.getpid())
        assert me is not None
        processes.write_record(self._pid_file, me)
        try:
            log.info("starting version=%s pid=%d folder=%s", nano.__version__, me.pid, self.folder)
            anyio.run(self._until_signalled, ready, backend_options={"use_uvloop": True})
        except BaseException as error:
            reason = explain(error)
            log.critical("ended by error reason=%s", reason, exc_info=error if not _is_ours(error) else None)
            failed(reason)
            return 1
        else:
            log.info("stopped")
            return 0
        finally:
            self._pid_file.unlink(missing_ok=True)
            os.close(descriptor)

    async def _until_signalled(self, ready: Ready) -> None:
        def serving(message: str) -> None:
            gc.freeze()  # what was replayed lives as long as the node: keep the collector away from it
            gc.enable()
            sys.setswitchinterval(GIVE_WAY_S)
            logs.logger(self.name).info("ready %s", message)
            ready(message)

        gc.disable()  # until ready: starting makes a great many objects and hardly any garbage (a quarter of replay time)
        async with anyio.create_task_group() as group:
            await group.start(_cancel_on_signal, group.cancel_scope)
            await self._serve(self.folder, serving)
            group.cancel_scope.cancel()


def explain(error: BaseException) -> str:
    """One line for people: the first own error in a group of them, else type and text."""
    causes = list(leaves(error))
    own = [cause for cause in causes if isinstance(cause, NanoError)]
    if own:
        return str(own[0])
    if isinstance(causes[0], OSError) and causes[0].strerror:
        return str(causes[0])
    return f"{type(causes[0]).__name__}: {causes[0]}"


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors in a group of them, however deep; the error itself when it is no group."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error


def _is_ours(error: BaseException) -> bool:
    """Expected failures need no traceback in the log."""
    return all(isinstance(cause, NanoError) for cause in leaves(error))


async def _cancel_on_signal(
    scope: anyio.CancelScope, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for number in signals:
            logs.logger("daemon").info("stopping signal=%s", signal.Signals(number).name)
            scope.cancel()
            return


def _run_detached(body: Callable[[], int]) -> None:
    """Finish the daemon's double fork: a session of its own, and no way back to a terminal. Never returns."""
    code = 1
    try:
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        os.chdir("/")
        os.umask(0o022)
        code = body()
    finally:
        os._exit(code)


def _read_until_closed(descriptor: int, timeout_s: float) -> bytes | None:
    """None when it is still open after that time."""

    async def read() -> bytes | None:
        said = b""
        with anyio.move_on_after(timeout_s):
            while True:
                await anyio.wait_readable(descriptor)
                if not (part := os.read(descriptor, 4096)):
                    return said
                said += part
        return None

    return anyio.run(read)
