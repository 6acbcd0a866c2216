"""Can this kernel limit what a network interface carries, the way libvirt asks for it?

Why: a domain with ``<bandwidth>`` in its XML does not start on a kernel that lacks any of the queues, filters and actions
that libvirt sets up for it (measured: no sfq, no fw filter, no police action). So what libvirt would do is done once to the
loopback interface of a network namespace of its own, which goes with the process. Blocks for some milliseconds.
"""

import subprocess
from typing import Final

LIMIT_S: Final = 10.0
PARTS: Final = (  # what libvirt runs (virnetdevbandwidth.c), and what of the kernel each line needs
    ("the queue htb", "qdisc add dev lo root handle 1: htb default 1"),
    ("the queue htb", "class add dev lo parent 1: classid 1:1 htb rate 1000kbps ceil 2000kbps burst 1000kb"),
    ("the queue sfq", "qdisc add dev lo parent 1:1 handle 2: sfq perturb 10"),
    ("the filter fw", "filter add dev lo parent 1:0 protocol all prio 1 handle 1 fw flowid 1"),
    ("the queue ingress", "qdisc add dev lo ingress"),
    (
        "the action police",
        "filter add dev lo parent ffff: protocol all u32 match u32 0 0 police rate 1000kbps burst 1000kb mtu 64kb drop flowid :1",
    ),
)


def why_no_bandwidth(program: str = "tc") -> str:
    """Empty when it can; else what is missing, in words that continue "because"."""
    batch = "".join(f"{line}\n" for _, line in PARTS)
    command = ["unshare", "--net", program, "-force", "-batch", "-"]
    try:
        done = subprocess.run(command, input=batch, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except OSError as error:
        return f"{error.filename} can't be run: {error.strerror}"
    except subprocess.TimeoutExpired:
        return f"{program} does not answer"
    if done.returncode == 0:
        return ""
    missing = dict.fromkeys(
        part for number, (part, _) in enumerate(PARTS, 1) if f"Command failed -:{number}\n" in f"{done.stderr}\n"
    )
    return f"the kernel lacks {', '.join(missing)}" if missing else done.stderr.strip()[-200:] or "tc failed"
