"""The tiny guest image: a 20 MB bootable disk made of the distribution's own packages, whose agent answers seconds after
power on, even under emulation.

Why own: a cloud image is 20 times larger, boots 10 times slower and may not be fetched where Nano is tried out. It is
for demonstrations and tests, not for work: the root password is "nano".

``packages`` fetches and unpacks, ``root`` and ``initrd`` lay out file trees, ``disk`` makes the disk of them,
``builder`` runs these steps and keeps the result in a cache. ``files/`` holds what the guest itself runs.
No root, no loop device and no mount is needed.
"""
