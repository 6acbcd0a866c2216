"""``scripts/bench``: run the modules of ``tests/bench`` and write what they measured, with the machine, to
``docs/benchmarks.md``.

A NAME is that of a module, or how several begin (``journal``). With ``--json`` all that was measured is printed as one JSON
object: ``{"measured", "machine", "results": {module: {"title", "figures"}}, "failed": [module]}``.

A module there is a docstring (its first line is the title) and ``run() -> dict``: figures by name. A figure is a number or
text, or ``{"value", "unit", "reach", "ok"}`` where something is to be reached; nested dicts become dotted names. Each runs in
a process of its own, so that memory and caches of one do not colour the next. Files named ``test_*.py`` there are run by
pytest-benchmark and their medians are added. A ratio is measured within one run: it holds on other machines, a time does not.

It asserts nothing: a test may, on ratios.
"""

import argparse
import datetime
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

ROOT: Final = Path(__file__).resolve().parents[1]
MODULES: Final = ROOT / "tests" / "bench"
PAGE: Final = ROOT / "docs" / "benchmarks.md"
MODULE_TIMEOUT_S: Final = 900.0

Figures = dict[str, Any]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure this machine's figures.")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="modules of tests/bench, or how they begin (default: all, and write the page)",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    parser.add_argument("--module", type=Path, help=argparse.SUPPRESS)  # one module in this process, figures to stdout
    options = parser.parse_args(argv)
    if options.module:
        print(json.dumps(_load(options.module)))
        return 0
    console = Console(stderr=True)
    results: dict[str, Figures] = {}
    failed = []
    for path in _chosen(options.names):
        began = time.monotonic()
        try:
            results[path.stem] = {"title": _title(path), "figures": _measure(path)}
            console.print(f"[bold]{path.stem}[/] {time.monotonic() - began:.0f} s", highlight=False)
        except (subprocess.SubprocessError, json.JSONDecodeError, OSError) as error:
            failed.append(path.stem)
            console.print(f"[red]{path.stem} failed:[/] {error}", highlight=False)
    report = {"measured": datetime.date.today().isoformat(), "machine": machine(), "results": results, "failed": failed}
    if options.json:
        print(json.dumps(report, ensure_ascii=False))
    for result in results.values():
        console.print(_table(**result))
    if not options.names and not failed:
        PAGE.write_text(page(report))
        console.print(f"Wrote {PAGE.relative_to(ROOT)}")
    return 1 if failed else 0


def machine() -> dict[str, str]:
    """What a reader must know to compare: no names, no addresses."""
    return {
        "processor": f"{_cpu_model()}, {os.cpu_count()} cores seen",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "qemu": _first_line("qemu-system-x86_64", "--version"),
        "libvirt": _first_line("libvirtd", "--version"),
        "fdatasync of 4 KiB (median)": f"{_fdatasync_us():.0f} µs",
        "load when started": f"{os.getloadavg()[0]:.1f}",
    }


def page(report: dict[str, Any]) -> str:
    """docs/benchmarks.md."""
    lines = [
        "# Benchmarks",
        "",
        f"Measured on {report['measured']} by `./scripts/bench`, which writes this page. Times are of this machine; ratios are",
        "taken within one run and hold elsewhere.",
        "",
        "| machine | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in report["machine"].items()),
    ]
    for result in report["results"].values():
        lines += ["", f"## {result['title']}", "", "| what | measured | to reach | |", "|---|---:|---:|---|"]
        lines += [f"| {' | '.join(row)} |" for row in rows(result["figures"])]
    return "\n".join(lines) + "\n"


def rows(figures: Figures, prefix: str = "") -> list[tuple[str, str, str, str]]:
    """(name, measured, to reach, verdict) of each figure."""
    found = []
    for name, figure in figures.items():
        label = f"{prefix}{name}".replace("_", " ")
        if isinstance(figure, dict) and "value" in figure:
            unit = f" {figure['unit']}" if figure.get("unit") else ""
            verdict = "" if "ok" not in figure else "reached" if figure["ok"] else "**missed**"
            found.append((label, _number(figure["value"]) + unit, str(figure.get("reach", "")), verdict))
        elif isinstance(figure, dict):
            found += rows(figure, f"{label}: ")
        else:
            found.append((label, _number(figure), "", ""))
    return found


def _chosen(names: list[str]) -> list[Path]:
    modules = sorted(path for path in MODULES.glob("*.py") if not path.name.startswith(("_", "conftest")))
    unknown = [name for name in names if not any(path.stem.startswith(name) for path in modules)]
    if unknown:
        print(
            f"tests/bench has no {', '.join(unknown)}; there are: {', '.join(path.stem for path in modules)}",
            file=sys.stderr,
        )
        sys.exit(2)
    return [path for path in modules if not names or path.stem.startswith(tuple(names))]


def _measure(path: Path) -> Figures:
    if path.name.startswith("test_"):
        return _pytest_medians(path)
    command = [sys.executable, "-m", "nano.tools.bench", "--module", str(path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=MODULE_TIMEOUT_S, check=True, cwd=ROOT)
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def _pytest_medians(path: Path) -> Figures:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "figures.json"
        command = [sys.executable, "-m", "pytest", "-q", str(path), "--benchmark-only", f"--benchmark-json={target}"]
        subprocess.run(command, stdout=sys.stderr, timeout=MODULE_TIMEOUT_S, check=True, cwd=ROOT)
        measured = json.loads(target.read_text())["benchmarks"]
    return {
        run["name"].removeprefix("test_"): {"value": run["stats"]["median"] * 1e6, "unit": "µs"} for run in measured
    }


def _load(path: Path) -> Figures:
    spec = importlib.util.spec_from_file_location(f"bench_{path.stem}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    figures: Figures = module.run()
    return figures


def _title(path: Path) -> str:
    text = path.read_text()
    first = text.split('"""', 2)[1].strip().splitlines()[0] if text.startswith('"""') else path.stem
    return first.rstrip(".")


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _table(title: str, figures: Figures) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in ("what", "measured", "to reach", ""):
        table.add_column(heading, justify="right" if heading in ("measured", "to reach") else "left")
    for row in rows(figures):
        table.add_row(*row)
    return table


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _first_line(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return "not installed"


def _fdatasync_us(rounds: int = 200) -> float:
    """Median in microseconds, beside the repository: what every durable command pays at least once per batch."""
    times = []
    with tempfile.NamedTemporaryFile(dir=ROOT) as file:
        for _ in range(rounds):
            os.write(file.fileno(), bytes(4096))
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e6


if __name__ == "__main__":
    sys.exit(main())
