"""What is known of the VNC access to a guest's display, on either node (decision 44).

Both keep the secret sealed: ``sealed`` opens with Core's key alone, ``kept`` with the key of the cell that checks it.
"""

import msgspec


class VncAccess(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Core's: where viewers find the guest's display while it runs."""

    address: str
    port: int
    sealed: str


class VncEntrance(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The cell's."""

    address: str
    port: int
    sealed: str
    kept: str
