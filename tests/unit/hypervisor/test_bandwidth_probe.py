"""The probe for limits of network interfaces: what it says of kernels and tools of all sorts."""

import stat
from pathlib import Path

import pytest

from nano.hypervisor.bandwidth_probe import PARTS, network_limits


def tool(folder: Path, script: str) -> str:
    """A ``tc`` that does this."""
    path = folder / "tc"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_a_kernel_that_takes_every_line_can(tmp_path: Path) -> None:
    assert network_limits(tool(tmp_path, f"cat > {tmp_path}/asked")).can
    assert (tmp_path / "asked").read_text().splitlines() == [line for _, line in PARTS]


def test_what_is_missing_is_named_once(tmp_path: Path) -> None:
    said = "Error: Specified qdisc kind is unknown.\nCommand failed -:1\nCommand failed -:2\nCommand failed -:6"
    script = f"cat > /dev/null; printf '%s\\n' '{said}' >&2; exit 1"
    assert network_limits(tool(tmp_path, script)).why_not == "its kernel lacks sch_htb, act_police"


@pytest.mark.parametrize(("script", "said"), [("exit 2", "tc failed"), ("echo no rights >&2; exit 1", "no rights")])
def test_a_tool_that_fails_otherwise_is_quoted(tmp_path: Path, script: str, said: str) -> None:
    assert network_limits(tool(tmp_path, script)).why_not == said


def test_a_tool_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert "none is not installed" in network_limits(str(tmp_path / "none")).why_not
