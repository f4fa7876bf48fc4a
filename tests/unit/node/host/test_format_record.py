"""The record of a format in progress is recognised whole, or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node import format_record
from node.format_record import RECORD_BYTES, FormatRecord
from node.model import MIB

SERIALS = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=64)
RECORDS = st.builds(FormatRecord, SERIALS, st.sampled_from(["ext4", "xfs", "btrfs"]), st.integers(0, 2**63))


@given(RECORDS)
def test_a_record_is_read_as_it_was_written(record: FormatRecord) -> None:
    data = record.encode()
    assert len(data) == RECORD_BYTES
    assert format_record.decode(data) == record


@given(RECORDS, st.integers(0, RECORD_BYTES - 1), st.integers(1, 255))
def test_one_changed_byte_makes_it_no_record(record: FormatRecord, place: int, change: int) -> None:
    data = bytearray(record.encode())
    data[place] ^= change
    assert format_record.decode(bytes(data)) is None


@given(st.binary(max_size=RECORD_BYTES))
def test_other_bytes_are_no_record(data: bytes) -> None:
    assert format_record.decode(data) is None
    assert format_record.decode(data.ljust(RECORD_BYTES, b"\0")) is None


def test_the_bytes_that_take_it_away_are_zeros() -> None:
    assert format_record.no_record() == bytes(RECORD_BYTES)
    assert format_record.decode(format_record.no_record()) is None


@given(st.integers(8 * MIB, 2**50))
def test_the_record_lies_behind_what_mkfs_is_given(size_bytes: int) -> None:
    assert format_record.fs_bytes(size_bytes) <= format_record.offset(size_bytes)
    assert format_record.offset(size_bytes) + RECORD_BYTES <= size_bytes
    # mkfs.xfs wipes the last 128 KiB of the disk.
    assert format_record.offset(size_bytes) + RECORD_BYTES <= size_bytes - 128 * 1024


@pytest.mark.parametrize("record", [FormatRecord("", "ext4", 1), FormatRecord("s" * 65, "ext4", 1)])
def test_a_serial_without_room_is_refused_and_not_cut(record: FormatRecord) -> None:
    with pytest.raises(ValueError, match="no room"):
        record.encode()
