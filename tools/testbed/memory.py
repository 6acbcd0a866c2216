"""Peak: how much memory a process took at most while something was done, beyond what it had before (Linux's VmHWM)."""

import re
from pathlib import Path
from types import TracebackType


class Peak:
    def __init__(self, pid: int) -> None:
        self._process = Path("/proc") / str(pid)
        self.bytes = 0

    def __enter__(self) -> "Peak":
        (self._process / "clear_refs").write_text("5")  # the highest from here on
        self._before = self._read("VmRSS")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bytes = self._read("VmHWM") - self._before

    def _read(self, field: str) -> int:
        found = re.search(rf"^{field}:\s+(\d+) kB$", (self._process / "status").read_text(), re.M)
        assert found, field
        return int(found[1]) << 10
