"""``scripts/sim``: simulate zones from seeds and say what broke.

Each seed runs in one of a few processes. A failing seed prints itself and leaves its journals, its violations and the
nodes' log in a folder; ``--seeds 1 --seed K`` runs it again, the same to the byte. Exit code 0: none failed, 1: some did.
"""

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from nano.tools.simulator.seeds import Outcome, broken, run_seed

MINUTES: Final = 20.0
CELLS: Final = 3


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/sim", description="Simulate whole zones under faults, and check that nothing is lost or wrong."
    )
    parser.add_argument("--seeds", type=int, default=100, metavar="N", help="how many seeds (default 100)")
    parser.add_argument("--seed", type=int, default=1, metavar="K", help="the first of them (default 1)")
    parser.add_argument(
        "--minutes",
        type=float,
        default=MINUTES,
        metavar="M",
        help=f"virtual minutes of trouble each (default {MINUTES:g})",
    )
    parser.add_argument("--cells", type=int, default=CELLS, help=f"cells in each zone (default {CELLS})")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where failing seeds leave their journals")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    options = parser.parse_args(argv)
    if options.seeds < 1 or options.minutes <= 0 or options.cells < 1 or options.jobs < 1:
        parser.error("seeds, minutes, cells and jobs must be positive")
    console = Console(stderr=True)
    keep: Path = options.keep or Path(tempfile.mkdtemp(prefix="nano-sim-"))
    outcomes = _run_all(options, keep, console)
    failed = [outcome for outcome in outcomes if outcome.violations]
    faults: Counter[str] = Counter()
    upkeep: Counter[str] = Counter()  # of journals
    for outcome in outcomes:
        faults.update(outcome.faults)
        upkeep.update(outcome.upkeep)
    hours = sum(outcome.virtual_s for outcome in outcomes) / 3600
    cpu_s = sum(outcome.cpu_s for outcome in outcomes)
    console.print(
        f"{len(outcomes)} seeds, {len(failed)} failed; {hours:.1f} virtual hours in {cpu_s:.0f} s of CPU "
        f"({hours * 3600 / max(cpu_s, 1e-9):,.0f} times as fast as life); {sum(faults.values()):,} faults",
        highlight=False,
    )
    if not failed and options.keep is None:
        keep.rmdir()
    if options.json:
        report = {
            "seeds": len(outcomes),
            "failed": len(failed),
            "virtual_hours": round(hours, 3),
            "cpu_seconds": round(cpu_s, 3),
            "faults": dict(sorted(faults.items())),
            "upkeep": dict(sorted(upkeep.items())),
            "failing": [outcome.seed for outcome in failed],
        }
        print(json.dumps(report))
    return 1 if failed else 0


def _run_all(options: argparse.Namespace, keep: Path, console: Console) -> list[Outcome]:
    seeds = range(options.seed, options.seed + options.seeds)
    work = partial(_run, minutes=options.minutes, cells=options.cells, keep=keep)
    columns = (TextColumn("seeds"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    outcomes = []
    with (
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress,
        ProcessPoolExecutor(min(options.jobs, options.seeds)) as pool,
    ):
        bar = progress.add_task("seeds", total=options.seeds)
        for outcome in pool.map(work, seeds):
            outcomes.append(outcome)
            progress.advance(bar)
            if outcome.violations:
                _tell(outcome, keep, options, progress.console)
    return outcomes


def _run(seed: int, *, minutes: float, cells: int, keep: Path) -> Outcome:
    try:
        return run_seed(seed, minutes=minutes, cells=cells, keep=keep)
    except Exception as error:  # noqa: BLE001 (the other seeds go on)
        return broken(seed, error)


def _tell(outcome: Outcome, keep: Path, options: argparse.Namespace, console: Console) -> None:
    console.print(f"[red]seed {outcome.seed} failed[/]; its journals: {keep / f'seed-{outcome.seed}'}", highlight=False)
    for text in outcome.violations:
        console.print(f"  {text}", highlight=False, markup=False)
    again = f"scripts/sim --seeds 1 --seed {outcome.seed} --minutes {options.minutes:g} --cells {options.cells}"
    console.print(f"  again: {again}", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
