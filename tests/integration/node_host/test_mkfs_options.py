"""Whatever the table of options lets through: the real mkfs makes the file system in its place, or fails."""

import shutil
import subprocess
from pathlib import Path

import pytest

from csi.mkfs_options import MKFS_OPTIONS, MkfsOption, parse_mkfs_options
from node import mkfs
from node.model import MIB, FsType

SIZE_BYTES = 512 * MIB
MAGIC = {"ext4": (1024 + 0x38, b"\x53\xef"), "xfs": (0, b"XFSB"), "btrfs": (0x10040, b"_BHRfS_M")}
NUMBERS = (
    {"-b": "4096", "-C": "64k", "-g": "8192", "-G": "16", "-i": "16384", "-I": "512", "-N": "1000", "-n": "16384"}
    | {"agcount": "2", "agsize": "64m", "maxpct": "20", "stride": "16", "stripe_width": "32", "su": "32k", "sw": "2"}
    | {"orphan_file_size": "131072", "resize": "1048576", "root_owner": "1000"}
    | {"-J size": "16", "-i size": "1024", "-l size": "64m", "-n size": "8192"}
)


def values(option: MkfsOption, item: str) -> list[str]:
    """Give real values for an item of the table; a feature also switched off."""
    key = item.partition("=")[0]
    number = NUMBERS.get(f"{option.word} {key}") or NUMBERS.get(key) or NUMBERS.get(option.word, "64")
    plain = item.replace("[^]", "").replace("N", number).replace("P", "0.5")
    return [plain, f"^{plain}"] if item.startswith("[^]") else [plain]


@pytest.mark.parametrize("fs_type", list(MAGIC))
def test_an_allowed_option_moves_nothing_and_leaves_the_end_of_the_disk_alone(tmp_path: Path, fs_type: str) -> None:
    if shutil.which(mkfs.program(FsType(fs_type))) is None:
        pytest.skip(f"{mkfs.package(FsType(fs_type))} is not installed")
    image, made = tmp_path / "disk.img", 0
    at, magic = MAGIC[fs_type]
    tried = [(o.word, value) for o in MKFS_OPTIONS[fs_type] for item in o.items for value in values(o, item)]
    for word, value in tried:
        options = parse_mkfs_options(f"{word} {value}", (fs_type,))
        image.write_bytes(b"")
        with image.open("r+b") as file:
            file.truncate(SIZE_BYTES + MIB)
        argv = mkfs.mkfs_argv(FsType(fs_type), image, SIZE_BYTES, options, kernel=(99, 0), tool=(99, 0))
        ended = subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, check=False).returncode
        with image.open("rb") as file:
            file.seek(at)
            assert (file.read(len(magic)) == magic) is (ended == 0), options
            file.seek(SIZE_BYTES)
            assert file.read() == bytes(MIB), options
        made += ended == 0
    # Some need others beside them, or newer tools; most do not.
    assert made > len(tried) / 2
