"""``scripts/up`` and ``scripts/down``: a whole zone on this machine, from nothing to a running guest and back.

``options`` what was asked for | ``configs`` the nodes' settings files | ``machine`` bridge, private libvirtd, guest image
``nodes`` the three programs | ``zone`` what is asked of Core | ``show`` tables and the live view
``bring_up`` and ``take_down`` put these in order.

Everything it makes is below one state folder, but for one isolated bridge and the cache of the guest image.
"""
