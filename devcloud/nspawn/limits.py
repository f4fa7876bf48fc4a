"""Limits of this host's kernel that all machines share, because they are one user to it.

Each machine's service manager, container runtime and kubelet take some; what a host has by default is enough for a few.
"""

import logging
from pathlib import Path

_log = logging.getLogger(__name__)
SYSCTLS = Path("/proc/sys")
WANTED = {
    "fs/inotify/max_user_instances": 8192,
    "fs/inotify/max_user_watches": 524288,
}
"""Smallest values that leave room for dozens of machines, by path."""


def raise_limits(sysctls: Path = SYSCTLS) -> None:
    """Raise what is smaller, and never lower anything (blocking); what cannot be raised is logged with what to do."""
    for name, wanted in WANTED.items():
        path = sysctls / name
        try:
            found = int(path.read_text())
            if found < wanted:
                path.write_text(str(wanted))
                _log.info("%s raised from %d to %d for the machines", name.replace("/", "."), found, wanted)
        except OSError as error:
            _log.warning(
                "%s cannot be raised to %d (%s); programs in machines may fail with 'too many open files'",
                name.replace("/", "."),
                wanted,
                error.strerror,
            )
