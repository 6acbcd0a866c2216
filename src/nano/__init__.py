"""Nano: a small, replayable private cloud.

The package is made of links to the root folders of the repository (see docs/guides/house.md):
every import is ``nano.<room>…`` and never the bare room, which would load a second copy of it.
"""

__version__ = "0.1.0"
