"""A cloud-init seed: a few texts on a small ISO image that NoCloud finds by its label.

Rock Ridge carries the names as they are, Joliet for systems that read no Rock Ridge; the ISO names below mean nothing.
"""

import io
from collections.abc import Mapping
from typing import Final

import pycdlib

LABEL: Final = "cidata"


def seed_iso(files: Mapping[str, str]) -> bytes:
    """The image. ``files`` by name."""
    image = pycdlib.PyCdlib()
    image.new(vol_ident=LABEL, joliet=3, rock_ridge="1.09")
    for number, (name, text) in enumerate(sorted(files.items())):
        data = text.encode()
        image.add_fp(io.BytesIO(data), len(data), f"/FILE{number}.;1", rr_name=name, joliet_path=f"/{name}")
    made = io.BytesIO()
    image.write_fp(made)
    image.close()
    return made.getvalue()
