"""Can this kernel limit what a network interface carries, the way libvirt asks for it?

Why: a domain with ``<bandwidth>`` in its XML does not start on a kernel that lacks any of the queues, filters and actions
that libvirt sets up for it (measured: no sfq, no fw filter, no police action). So what libvirt would do is done once to the
loopback interface of a network namespace of its own, which goes with the process. Blocks for some milliseconds.
"""

import shutil
import subprocess
from pathlib import Path
from typing import Final

from nano.domain.ability import NETWORK_LIMITS, Ability

LIMIT_S: Final = 10.0
PARTS: Final = (  # what libvirt runs (virnetdevbandwidth.c), and the module of the kernel that each line needs
    ("sch_htb", "qdisc add dev lo root handle 1: htb default 1"),
    ("sch_htb", "class add dev lo parent 1: classid 1:1 htb rate 1000kbps ceil 2000kbps burst 1000kb"),
    ("sch_sfq", "qdisc add dev lo parent 1:1 handle 2: sfq perturb 10"),
    ("cls_fw", "filter add dev lo parent 1:0 protocol all prio 1 handle 1 fw flowid 1"),
    ("sch_ingress", "qdisc add dev lo ingress"),
    (
        "act_police",
        "filter add dev lo parent ffff: protocol all u32 match u32 0 0 police rate 1000kbps burst 1000kb mtu 64kb drop flowid :1",
    ),
)


def network_limits(program: str = "tc") -> Ability:
    if shutil.which(program) is None:
        return Ability(NETWORK_LIMITS, False, "program", Path(program).name)
    batch = "".join(f"{line}\n" for _, line in PARTS)
    command = ["unshare", "--net", program, "-force", "-batch", "-"]
    try:
        done = subprocess.run(command, input=batch, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except OSError as error:
        return Ability(NETWORK_LIMITS, False, "program", str(error.filename))
    except subprocess.TimeoutExpired:
        return Ability(NETWORK_LIMITS, False, "told", f"{program} does not answer")
    if done.returncode == 0:
        return Ability(NETWORK_LIMITS, True, detail="tc")
    missing = dict.fromkeys(
        part for number, (part, _) in enumerate(PARTS, 1) if f"Command failed -:{number}\n" in f"{done.stderr}\n"
    )
    if missing:
        return Ability(NETWORK_LIMITS, False, "kernel", ", ".join(missing))
    return Ability(NETWORK_LIMITS, False, "told", done.stderr.strip()[-200:] or f"{Path(program).name} failed")
