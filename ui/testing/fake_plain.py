"""What the fake Core makes and changes at once, without a task: compute pools and templates."""

import uuid
from typing import Any, Final

import msgspec

from nano.domain.machine import Hardware

Row = dict[str, Any]


def pool_row(body: Row, now: str) -> Row:
    return {
        "name": body["name"],
        "storage": "",
        "network": "",
        "failover": False,
        "enabled": True,
        "cells": 0,
        "guests": {},
        "created_at": now,
        "version": 1,
    }


def template_row(body: Row, now: str) -> Row:
    usual = {"operating_system": "linux", "admin": "root", "policy": None}
    hardware = {**msgspec.to_builtins(Hardware()), **body.get("hardware", {})}
    times = {"created_at": now, "modified_at": now, "version": 1}
    return {"id": str(uuid.uuid4()), **usual, **body, "hardware": hardware, **times}


MADE: Final = {"compute_pool": pool_row, "template": template_row}


def patched(row: Row, body: Row) -> Row:
    """What is left out stays."""
    after = {**row, **body}
    if "hardware" in body:
        after["hardware"] = {**row["hardware"], **body["hardware"]}
    if after.pop("no_policy", False):
        after["policy"] = None
    return after
