"""``verify``: is the journal what was written? Chain, versions, seals and signatures, resource journals, snapshots.

Exit code 0 = whole, 1 = damaged (file and byte are named).
"""

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from nano.journal.segments import damaged
from nano.journal.verify import CheckSignature, Report, verify
from nano.tools.display import plain, words
from nano.tools.display.card import print_fields
from nano.tools.display.progress import bar
from nano.tools.display.terminal import Terminal
from nano.tools.display.text import Text
from nano.tools.replay import exits
from nano.tools.replay.node import Node

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec


def run(terminal: Terminal, node: Node, options: Namespace) -> int:
    check = certificate_check(node.certificate)
    if node.start is None:
        with bar(terminal) as moved:
            own = certificate_key(node.certificate)
            report = verify(
                node.journal, disk=node.disk, check_signature=check, own_key=own, model=node.model(), progress=moved
            )
    else:
        report = _slice(node)
    if options.output == "json":
        found = msgspec.to_builtins(report)
        terminal.data(plain.json_line({"whole": report.whole, "node": node.name, "kind": node.kind, **found}))
    else:
        _print(terminal, node, report, signed=check is not None)
    return exits.WHOLE if report.whole else exits.DAMAGED


def _slice(node: Node) -> Report:
    """Of a slice from a bundle: chain, positions and versions from its start on. Raises JournalDamaged."""
    reader, lines = node.reader(), 0
    versions = dict(node.start.versions) if node.start else {}
    for line in reader.lines():
        lines += 1
        for entry in line.events:
            versions[entry.resource] = expected = versions.get(entry.resource, 0) + 1
            if entry.version != expected:
                raise damaged(reader.path, reader.offset, f"{entry.resource} should have version {expected}")
    return Report(
        position=reader.position,
        lines=lines,
        resources=len(versions),
        segments=len(list((node.journal / "commits").glob("*.jsonl"))),
        seals=0,
        resource_rows=0,
        pending_bytes=0,
        hash=reader.hash.decode(),
    )


def certificate_check(path: Path) -> CheckSignature | None:
    """Checks signatures by the node's certificate; None when there is none. A seal of another key (the node had a
    different one then) is not judged."""
    public = _public_key(path)
    if public is None:
        return None
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    own = certificate_key(path)

    def check(signature: bytes, signed: bytes, key_id: str) -> bool:
        if key_id != own:
            return True
        try:
            public.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True

    return check


def certificate_key(path: Path) -> str:
    """Which key that is, by its fingerprint; empty when there is no certificate."""
    from nano.transports.identity import fingerprint_of, public_der

    public = _public_key(path)
    return fingerprint_of(public_der(public)) if public is not None else ""


def _public_key(path: Path) -> "ec.EllipticCurvePublicKey | None":
    try:
        data = path.read_bytes()
    except OSError:
        return None
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    key = x509.load_pem_x509_certificate(data).public_key()
    return key if isinstance(key, ec.EllipticCurvePublicKey) else None


def _gone(report: Report, *, signed: bool) -> list[tuple[str, str | Text]]:
    if not report.begins_after:
        return []
    segments = words.plural(report.dropped_segments, "segment")
    how = "and their signatures lead" if signed else "lead"
    return [
        ("gone", f"all up to position {report.begins_after}, {segments}: their seals {how} to the base it begins with")
    ]


def _print(terminal: Terminal, node: Node, report: Report, *, signed: bool) -> None:
    state = terminal.state("done", "whole") if report.whole else terminal.state("failed", "damaged")
    terminal.write(Text(f"journal of {node.name}", "bold").append("  ").append(state))
    if report.damage is not None:
        # on one line whatever the width: it names file and byte, and this is what people search for and programs read
        terminal.write(f"  {report.damage.message}")
        for line in Text(report.damage.hint).folded(terminal.width - 2):
            terminal.write(Text("  ").append(line))
        terminal.write(Text("whole before it", "dim"))
    seals = words.plural(report.seals, "seal")
    fields: list[tuple[str, str | Text]] = [
        ("events", str(report.position)),
        ("transactions", str(report.lines)),
        ("resources", f"{report.resources}, {report.resource_rows} rows in their journals"),
        ("segments", f"{report.segments}, {seals}{' with their signatures' if signed and report.seals else ''}"),
        ("snapshots", f"{report.snapshots}, {report.folded} compared with what the log folds to"),
        *_gone(report, signed=signed),
        ("chain head", report.hash),
    ]
    if report.pending_bytes:
        fields.append(
            ("pending", f"{words.plural(report.pending_bytes, 'byte')} of a line that is still being written")
        )
    print_fields(terminal, fields)
