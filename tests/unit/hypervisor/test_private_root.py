"""The texts that a private libvirtd sees instead of the host's (that it starts with them is ``tests/system``)."""

from nano.hypervisor.private_root import with_accounts

PASSWD = "root:x:0:0:root:/root:/bin/bash\nlibvirt:x:1:1::/:/bin/sh"
QEMU = "libvirt-qemu:x:64055:64055::/nonexistent:/usr/sbin/nologin"


def test_only_a_missing_account_is_added() -> None:
    assert with_accounts(PASSWD, [QEMU]) == f"{PASSWD}\n{QEMU}\n"
    assert with_accounts(f"{PASSWD}\n", [QEMU]) == f"{PASSWD}\n{QEMU}\n"


def test_an_account_of_the_host_is_kept_as_it_is() -> None:
    known = f"{PASSWD}\nlibvirt-qemu:x:7:7::/var/lib/libvirt:/bin/false\n"
    assert with_accounts(known, [QEMU, "root:x:9:9::/:/bin/sh"]) == known
