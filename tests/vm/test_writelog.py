"""The rebuilt disk holds what was flushed, and of the rest exactly what was chosen."""

import struct
from pathlib import Path

import pytest

from tests.vm.writelog import SECTOR, RecordError, Survival, cut_points, read_log, rebuild

BEFORE = b"0"


def record(path: Path, *entries: tuple[int, bytes] | None) -> Path:
    """Write a record as QEMU does; None is a flush."""
    raw = struct.pack("<QQQI", 0x6A736677736872, 1, len(entries), SECTOR).ljust(SECTOR, b"\0")
    for entry in entries:
        sector, data = (0, b"") if entry is None else entry
        flags = 1 if entry is None else 0
        raw += struct.pack("<QQQQ", sector, len(data) // SECTOR, flags, 0).ljust(SECTOR, b"\0") + data
    path.write_bytes(raw)
    return path


def block(letter: bytes, sectors: int = 1) -> bytes:
    return letter * (SECTOR * sectors)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base"
    path.write_bytes(block(BEFORE, 64))
    return path


def letters(path: Path) -> str:
    """One letter for each sector."""
    data = path.read_bytes()
    return "".join(chr(data[at]) for at in range(0, len(data), SECTOR))


@pytest.mark.parametrize(
    ("cut", "survival", "expected"),
    [
        (0, Survival.ALL, "000"),
        (1, Survival.ALL, "a00"),
        (1, Survival.NOTHING, "000"),
        (2, Survival.NOTHING, "a00"),
        (3, Survival.NOTHING, "a00"),
        (3, Survival.ALL, "ab0"),
        (4, Survival.NOTHING, "a00"),
        (4, Survival.ALL, "cb0"),
        (5, Survival.NOTHING, "cb0"),
    ],
)
def test_flushed_writes_stay_and_later_ones_stay_only_if_chosen(
    tmp_path: Path, base: Path, cut: int, survival: Survival, expected: str
) -> None:
    log = read_log(record(tmp_path / "log", (0, block(b"a")), None, (1, block(b"b")), (0, block(b"c")), None))
    rebuild(log, base, tmp_path / "disk", cut=cut, survival=survival)
    assert letters(tmp_path / "disk")[:3] == expected


def test_some_loses_pieces_of_one_write_and_repeats_for_one_seed(tmp_path: Path, base: Path) -> None:
    log = read_log(record(tmp_path / "log", (0, block(b"x", 64))))
    seen = set()
    for seed in range(8):
        rebuild(log, base, tmp_path / "disk", cut=1, survival=Survival.SOME, seed=seed)
        first = letters(tmp_path / "disk")
        rebuild(log, base, tmp_path / "disk", cut=1, survival=Survival.SOME, seed=seed)
        assert letters(tmp_path / "disk") == first
        assert all(first[at : at + 8] in {"0" * 8, "x" * 8} for at in range(0, 64, 8))
        seen.add(first)
    assert len(seen) > 4


def test_holes_of_the_disk_stay_holes(tmp_path: Path) -> None:
    with (tmp_path / "base").open("wb") as file:
        file.truncate(64 << 20)
    log = read_log(record(tmp_path / "log", (8, block(b"a", 8))))
    rebuild(log, tmp_path / "base", tmp_path / "disk", cut=1, survival=Survival.ALL)
    found = (tmp_path / "disk").stat()
    assert found.st_size == 64 << 20
    assert found.st_blocks * 512 < 1 << 20


def test_a_record_that_ends_inside_an_entry_is_refused(tmp_path: Path) -> None:
    path = record(tmp_path / "log", (0, block(b"a", 4)))
    path.write_bytes(path.read_bytes()[:-SECTOR])
    with pytest.raises(RecordError, match="ends inside"):
        read_log(path)


def test_cut_points_lie_on_both_sides_of_every_flush(tmp_path: Path) -> None:
    write = (0, block(b"a"))
    log = read_log(record(tmp_path / "log", write, write, None, write, write, write, None))
    assert cut_points(log, 6) == [0, 2, 3, 4, 6, 7]
    assert cut_points(log, 3) == [0, 3, 7]
