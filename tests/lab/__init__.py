"""A test bed: real hosts on one machine, for tests of what happens between hosts.

    with Lab(3) as lab:                          # controller ctl, hosts h1, h2, h3
        lab.run(["ssh", "h1", "hostname"])       # on the controller, as a user would
        lab.host("h2").power_off()

Every host has its own network, address, name, processes, sshd, home, /tmp, /run and cgroup; the
machine's file system below that is seen by all. docs/testbed.md tells how it is made.
"""

from __future__ import annotations

from lab.bed import Lab
from lab.host import Host
from lab.needs import LabError, missing

__all__ = ["Host", "Lab", "LabError", "missing"]
