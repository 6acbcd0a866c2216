"""What a host does for its cell: domains, volumes, power, figures, events. It knows guests' specs and nothing of who owns them.

host                the contract: the ``Host`` protocol and the values that pass
libvirt_host        Host over libvirt
  connection        one connection, made anew when libvirtd went away; whose a domain is
  libvirt_api       the only module that touches libvirt-python; its errors in our words
  domain_events     libvirt's events in our words, carried from its thread to the loop
  blocking_calls    a bounded number of threads, a deadline for every call
  volumes, qemu_img the qcow2 files, and the tool that makes them under limits
  host_figures      the host's own figures and a guest's counters
  domain_xml        spec and place to XML, by devices and xml_fields; metadata is the mark that says "ours"
simulated           Host in memory, on a given clock, with faults (simulated_events)
virt_probe          does KVM really run a guest here?
bridge              one isolated bridge
local_libvirtd      a libvirtd of our own where none runs (private_root is what it runs in)
"""
