"""Several hypervisor hosts on one machine, for system tests and for trying things out. Needs root."""
