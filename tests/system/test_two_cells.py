"""Core and two cells on hosts of their own: discovery over the wire, placement, a cell cut off and back, Core restarted.

Real processes, real libvirtd each, in network namespaces made here.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from nano.tools.testbed.lan import lan
from nano.tools.testbed.site import Site
from nano.tools.testbed.zone import until

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with lan("ntwo") as network:
        site = Site(tmp_path, network, 15811)
        try:
            yield site
        finally:
            site.stop()


def test_two_cells(site: Site) -> None:
    site.cell(1, "start")  # Core may start after the cell
    site.core("start")
    site.cell(2, "start")
    one, two = site.cells[1], site.cells[2]
    until(lambda: len(site.ctl("cell", "list")) == 2, "both cells discovered")
    assert {cell["state"] for cell in site.ctl("cell", "list")} == {"discovered"}
    for name in (one, two):
        site.ctl("cell", "add", name)
    until(lambda: all(site.row("cell", name)["cores"] for name in (one, two)), "both cells described")

    first = ("guest", "create", "heavy", "--cell", one, "--memory", "8GiB", "--disk", "64MiB", "--wait")
    site.ctl(*first)
    site.ctl("guest", "create", "light", "--memory", "64MiB", "--disk", "16MiB", "--start", "--wait")
    assert site.row("guest", "light")["cell"] == two, "the lighter cell takes it"
    scores = {
        score["cell"]: score
        for score in site.ctl("placement", "explain", "--cores", "1", "--memory", "64MiB", "--disk", "16MiB")["scores"]
    }
    assert scores[two]["score"] > scores[one]["score"]

    site.network.cut(two)
    until(lambda: site.row("cell", two)["state"] == "offline", "the cut cell counts as offline")
    assert site.row("guest", "light")["state"] == "lost"
    site.core("halt")
    site.core("start")
    assert site.row("guest", "light")["state"] == "lost", "a restarted Core knows at once"
    site.network.mend(two)
    until(lambda: site.row("cell", two)["state"] == "online", "the cell rejoins by itself")
    assert site.row("guest", "light")["state"] == "running"

    site.cell(2, "halt")
    site.cell(2, "start")
    until(lambda: site.row("guest", "light")["state"] == "running", "a killed cell comes back with its guests")
    for name in ("light", "heavy"):
        site.ctl("guest", "delete", name, "--force", "--wait")
    assert site.ctl("guest", "list") == []
    for index in site.cells:
        assert not list((site.state(index) / "cell" / "data" / "volumes").glob("*.qcow2"))
