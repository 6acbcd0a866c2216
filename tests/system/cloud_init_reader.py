"""Reads seeds as cloud-init does, by its own modules; ``test_cloud_init_itself`` runs it with the distribution's Python.

python3 cloud_init_reader.py PACKAGES SEED_FOLDER...     prints one JSON object a seed
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any


def read(folder: Path) -> dict[str, Any]:
    """What it makes of a seed. Raises whatever cloud-init raises, so that the exit code tells."""
    from cloudinit import helpers, user_data, util
    from cloudinit.config.schema import get_schema, validate_cloudconfig_schema
    from cloudinit.handlers.cloud_config import CloudConfigPartHandler

    seed = util.pathprefix2dict(f"{folder}/", required=["user-data", "meta-data", "network-config"])
    with tempfile.TemporaryDirectory() as scratch:
        paths = helpers.Paths({"cloud_dir": scratch, "run_dir": scratch})
        merged = Path(scratch) / "cloud-config"
        paths.get_ipath = lambda _name=None: str(merged)
        handler = CloudConfigPartHandler(paths)
        parts = []
        handler.handle_part(None, "__begin__", None, None, None, {})
        for part in user_data.UserDataProcessor(paths).process(seed["user-data"]).walk():
            if part.get_content_maintype() != "multipart":
                parts.append(part.get_content_type())
                if parts[-1] == "text/cloud-config":
                    text = part.get_payload(decode=True).decode()
                    handler.handle_part(None, parts[-1], part.get_filename(), text, None, dict(part))
        handler.handle_part(None, "__end__", None, None, None, {})
        config = util.load_yaml(merged.read_text())
    validate_cloudconfig_schema(config, schema=get_schema(), strict=True)
    network = util.load_yaml(seed["network-config"])
    return {"meta": util.load_yaml(seed["meta-data"]), "parts": parts, "config": config, "network": written(network)}


def written(network: dict[str, Any]) -> dict[str, str]:
    """The files by which three kinds of systems are told of their network."""
    from cloudinit.distros import rhel
    from cloudinit.net import eni, netplan, network_state, sysconfig

    made = {}
    for renderer in (
        eni.Renderer({"eni_path": "etc/network/interfaces"}),
        netplan.Renderer({"netplan_path": "etc/netplan/50.yaml"}),
        sysconfig.Renderer(rhel.Distro.renderer_configs["sysconfig"]),
    ):
        with tempfile.TemporaryDirectory() as root:
            renderer.render_network_state(network_state.parse_net_config_data(network), target=root)
            for path in Path(root).rglob("*"):
                if path.is_file():
                    made[str(path.relative_to(root))] = path.read_text()
    return made


if __name__ == "__main__":
    sys.path.append(f"{sys.argv[1]}/usr/lib/python3/dist-packages")
    print(json.dumps([read(Path(folder)) for folder in sys.argv[2:]]))  # noqa: T201
