"""What ``up`` decides without starting anything: settings files, ports, options, and what it tells."""

import json
import socket
import tomllib
from pathlib import Path

import anyio
import pytest
from rich.console import Console

from nano.cell.settings import CellSettings
from nano.core.settings import CoreSettings
from nano.domain.errors import Conflict, Invalid
from nano.domain.settings import parse_settings
from nano.tools.up import bring_up, configs, machine, options
from nano.tools.up.outcome import Outcome
from nano.tools.up.steps import Steps
from nano.ui.settings import load_settings as load_frontend

TEXT = """\
# first
[one]
name = "a" # why
port = 1
[two]
port = 2
text = 'x # y'
"""


def test_values_are_replaced_in_their_table_and_comments_stay() -> None:
    changed = configs.set_values(TEXT, {("two", "port"): 5, ("one", "name"): 'b "c"', ("two", "text"): "z"})
    assert tomllib.loads(changed) == {"one": {"name": 'b "c"', "port": 1}, "two": {"port": 5, "text": "z"}}
    assert "# first" in changed
    assert '" # why' in changed


def test_missing_keys_and_tables_are_added() -> None:
    changed = configs.set_values(TEXT, {("one", "new"): True, ("three", "port"): 3})
    parsed = tomllib.loads(changed)
    assert parsed["one"]["new"] is True
    assert parsed["three"] == {"port": 3}
    assert parsed["two"]["port"] == 2


def test_files_are_what_the_nodes_accept(tmp_path: Path) -> None:
    ports = configs.write_configs(tmp_path, "qemu:///system?socket=/x", "nano-0", configs.Ports.from_base(7000))
    assert ports == configs.Ports(api=7000, portal=7001, image=7002, link=7003, discovery=7004)
    core = parse_settings((tmp_path / "core/config/core.toml").read_text(), CoreSettings, "core.toml")
    cell = parse_settings((tmp_path / "cell/config/cell.toml").read_text(), CellSettings, "cell.toml")
    frontend = load_frontend(tmp_path / "frontend")
    assert (core.listen.api_port, core.listen.image_port, core.listen.link_port) == (7000, 7002, 7003)
    assert core.listen.host == frontend.listen.host == "127.0.0.1"
    assert frontend.listen.port == 7001
    assert {core.domain.port, cell.domain.port, frontend.domain.port} == {7004}
    assert (cell.hypervisor.uri, cell.hypervisor.bridge) == ("qemu:///system?socket=/x", "nano-0")
    assert cell.cell.name == configs.configured_cell_name(tmp_path)


def test_an_edited_file_is_kept(tmp_path: Path) -> None:
    configs.write_configs(tmp_path, "uri-1", "nano-0", None)
    path = tmp_path / "core/config/core.toml"
    path.write_text(path.read_text().replace("api_port = 5850", "api_port = 6000  # mine"))
    ports = configs.write_configs(tmp_path, "uri-2", "nano-0", None)
    assert ports.api == 6000
    assert "# mine" in path.read_text()
    assert 'uri = "uri-2"' in (tmp_path / "cell/config/cell.toml").read_text()
    assert configs.write_configs(tmp_path, "uri-2", "nano-0", configs.Ports.from_base(7000)).api == 7000


def test_bridge_names_fit_the_kernel_and_differ(tmp_path: Path) -> None:
    names = {configs.bridge_name(tmp_path / str(n)) for n in range(20)}
    assert len(names) == 20
    assert max(map(len, names)) <= 15


def test_a_port_of_somebody_else_is_refused() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as somebody:
        somebody.bind(("127.0.0.1", 0))
        taken = somebody.getsockname()[1]
        ports = configs.Ports(api=0, portal=0, image=0, link=taken)
        with pytest.raises(Conflict, match=rf"Port {taken} \(udp\) for links"):
            machine.require_ports(ports, core=True, frontend=True)
        machine.require_ports(ports, core=False, frontend=True)  # it is our own Core that holds it


@pytest.mark.parametrize("base", [80, 65532])
def test_a_port_base_without_room_is_refused(base: int) -> None:
    with pytest.raises(Invalid, match="no room"):
        options.parse(["up", "--port-base", str(base)])


def test_the_state_folder_is_recorded_before_anything_is_made(tmp_path: Path) -> None:
    record = machine.prepare_state(tmp_path / "S")
    assert machine._read_record(tmp_path / "S") == record


def test_the_image_of_a_zone_outlives_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = tmp_path / "cache" / "tiny-1.qcow2"
    cached.parent.mkdir()
    cached.write_bytes(b"disk")
    monkeypatch.setattr(machine, "ensure_image", lambda cache, progress: cached)
    image = machine.image_for(tmp_path, cached.parent, lambda *_: None)
    cached.unlink()
    assert image.read_bytes() == b"disk"
    assert machine.image_for(tmp_path, cached.parent, lambda *_: None) == image


def test_the_line_for_programs() -> None:
    guest = {"id": "1", "name": "demo", "state": "running", "cell": "Cell_1", "agent": True, "addresses": []}
    told = json.loads(Outcome(state=Path("/S"), portal="p", api="a", guest=guest, first_guest_s=4.567).line())
    assert told["guest"] == {"id": "1", "name": "demo", "state": "running", "cell": "Cell_1"}
    assert told["seconds"] == {"setup": 0.0, "start": 0.0, "first_guest": 4.57}
    assert json.loads(Outcome(state=Path("/S"), portal="p", api="a").line())["guest"] is None


def test_a_step_that_fails_is_shown_as_failed(capsys: pytest.CaptureFixture[str]) -> None:
    steps = Steps(Console(width=200))
    with pytest.raises(ValueError, match="x"), steps, steps.step("Nodes"):
        raise ValueError("x")
    with steps, steps.step("Image") as step:
        step.percent(50)
        step.note = "cached"
    shown = capsys.readouterr().out
    assert "✗ Nodes" in shown
    assert "✓ Image cached" in shown
    assert list(steps.seconds) == ["Nodes", "Image"]


def test_a_port_that_is_taken_leaves_nothing_behind(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        base = taken.getsockname()[1] - 1  # the portal's
        given = options.Options(
            verb="up", state=tmp_path / "state", cache=tmp_path / "cache", started=0.0, port_base=base
        )
        with Steps(Console(quiet=True)) as steps, pytest.raises(Conflict) as refused:
            anyio.run(bring_up.bring_up, given, steps)
    assert refused.value.context["port"] == base + 1
    assert list(tmp_path.iterdir()) == []
