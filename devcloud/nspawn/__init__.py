"""The back end where every instance is a machine of its own: systemd-nspawn, full systemd, in a network of devcloud's.

`backend.py` puts it together; every other module is one concern: network, image, files, cgroups, processes, supervisor.
"""
