"""Formatting on the simulated host, and what it left on the disk."""

from node import format_record
from node.format_record import FormatRecord
from node.model import FsRequest
from tests.support.fake_disks import FakeDisk
from tests.support.fake_host import FakeHost


async def ensure(host: FakeHost, disk: FakeDisk, **request):
    devices = host.devices()
    device = await devices.find(disk.serial, deadline=host.soon())
    return await host.filesystems(devices).ensure(device, FsRequest(disk.serial, **request), deadline=host.soon())


def record_of(disk: FakeDisk) -> FormatRecord | None:
    place = format_record.offset(disk.size_bytes)
    return format_record.decode(disk.read(place, format_record.RECORD_BYTES))
