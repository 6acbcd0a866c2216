"""``nano-cell``: the Cell node as a program."""

import sys
from pathlib import Path

import anyio

from nano.tools.daemon import Ready, run_program

DESCRIPTION = "Cell: runs guests on this host by libvirt, as Core orders."


async def serve(folder: Path, ready: Ready) -> None:
    """Run the cell on its folder until cancelled. It is ready when its journal agrees with the host; Core may come later."""
    from nano.cell.node import open_cell, utc_now
    from nano.cell.settings import load_settings

    settings = load_settings(folder / "config")
    async with open_cell(folder, settings) as (cell, uplink), anyio.create_task_group() as tasks:
        tasks.start_soon(uplink.run)
        if settings.metrics.port:
            from nano.http.metrics import NodeMetrics  # its library is wanted by few
            from nano.http.metrics_page import serve_metrics

            tasks.start_soon(serve_metrics, settings.metrics, NodeMetrics("cell", cell.health, utc_now))
        ready(f"{cell.name} on {cell.host.capabilities.hypervisor} ({cell.host.capabilities.virt_type})")
        await anyio.sleep_forever()


def main() -> None:
    sys.exit(run_program("nano-cell", DESCRIPTION, serve))


if __name__ == "__main__":
    main()
