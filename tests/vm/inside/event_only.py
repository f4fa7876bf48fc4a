"""The node plugin as it ships, except that it looks for a disk again only when the kernel tells of one.

Without rescans a disk that arrives while a stage waits can be found through the kernel's event alone. Each look is told
on standard output, so that a test can plug the disk after the first one.
"""

import sys

import node.app
import node.devices
from node.model import Device

LOOKED = "looked at the disks:"


_look = node.devices.Devices.scan


def look_and_tell(devices: node.devices.Devices) -> tuple[Device, ...]:
    """Look at the disks, and say what was there."""
    found = _look(devices)
    serials = sorted(serial for device in found for serial in device.serials)
    sys.stdout.write(f"{LOOKED} {' '.join(serials)}\n")
    sys.stdout.flush()
    return found


if __name__ == "__main__":
    node.devices.RESCAN_S = 3600.0
    node.devices.Devices.scan = look_and_tell  # type: ignore[assignment]
    sys.exit(node.app.main())
