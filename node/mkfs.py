"""Argument lists of the tools that make, check and grow file systems, and the kernel versions they depend on.

Pure, and the only place that knows options of these tools. Whether a tool may run is decided in `filesystems`.
"""

from dataclasses import dataclass
from pathlib import Path

from node.model import FsType

Version = tuple[int, int]

SMALLEST_BYTES: dict[FsType, int] = {
    FsType.EXT3: 8 << 20,
    FsType.EXT4: 8 << 20,
    FsType.XFS: 300 << 20,
    FsType.BTRFS: 128 << 20,
}
"""What each mkfs accepts at least, without the tail that is left free; rounded up for btrfs."""


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature that new tools switch on and old kernels refuse to mount."""

    fs_type: FsType
    option: str
    off: str
    kernel: Version
    """The first kernel that mounts it."""
    tool: Version
    """The first version of the tools that knows its name; an older one rejects the option that switches it off."""


NEW_FEATURES = (
    Feature(FsType.XFS, "-m", "bigtime=0", kernel=(5, 10), tool=(5, 10)),
    Feature(FsType.XFS, "-m", "inobtcount=0", kernel=(5, 10), tool=(5, 10)),
    Feature(FsType.XFS, "-i", "nrext64=0", kernel=(5, 19), tool=(5, 19)),
    Feature(FsType.XFS, "-i", "exchange=0", kernel=(6, 10), tool=(6, 10)),
    Feature(FsType.XFS, "-n", "parent=0", kernel=(6, 10), tool=(6, 10)),
    Feature(FsType.BTRFS, "-O", "^block-group-tree", kernel=(6, 1), tool=(6, 1)),
    Feature(FsType.EXT4, "-O", "^metadata_csum_seed", kernel=(4, 4), tool=(1, 43)),
)
"""In order; the newest kernel version named decides from which kernel on nothing has to be switched off."""

_PACKAGES = {FsType.EXT3: "e2fsprogs", FsType.EXT4: "e2fsprogs", FsType.XFS: "xfsprogs", FsType.BTRFS: "btrfs-progs"}


def program(fs_type: FsType) -> str:
    """Give the name of the program that makes this file system."""
    return f"mkfs.{fs_type.value}"


def package(fs_type: FsType) -> str:
    """Give the name of the distribution's package with the tools."""
    return _PACKAGES[fs_type]


def depends_on_kernel(fs_type: FsType, kernel: Version) -> bool:
    """Whether this kernel is older than a feature that the tools may switch on, so that their version matters."""
    return any(feature.fs_type is fs_type and kernel < feature.kernel for feature in NEW_FEATURES)


def version_argv(fs_type: FsType) -> tuple[str, ...]:
    """Give the command that prints the version of the tools."""
    return (program(fs_type), "-V")


def mkfs_argv(
    fs_type: FsType, path: Path, size_bytes: int, options: tuple[str, ...], *, kernel: Version, tool: Version
) -> tuple[str, ...]:
    """Give the command that makes a file system of exactly `size_bytes`, which leaves the rest of the disk alone.

    No tool discards the disk first: that takes minutes on some platforms and gains nothing on a disk just created.
    """
    words = (*_switched_off(fs_type, kernel, tool), *options)
    if fs_type.is_ext:
        return _ext_argv(fs_type, path, size_bytes, words)
    if fs_type is FsType.XFS:
        # -f only quiets the question about old signatures; the disk is proved blank or ours before.
        return ("mkfs.xfs", "-q", "-f", "-K", "-d", f"size={size_bytes}", *words, "--", str(path))
    return ("mkfs.btrfs", "-q", "-f", "-K", *words, "--byte-count", str(size_bytes), "--", str(path))


def check_argv(path: Path, *, whole: bool = False) -> tuple[str, ...]:
    """Give the command that repairs an ext file system as far as that is safe without a person.

    `whole` checks everything, as resize2fs demands; otherwise the journal is replayed and the rest only read when the
    file system is marked as damaged.
    """
    return ("e2fsck", *(("-f",) if whole else ()), "-p", "--", str(path))


def grow_argv(fs_type: FsType, path: Path, mount_path: Path | None) -> tuple[str, ...]:
    """Give the command that grows a file system to its disk. Raises ValueError for xfs and btrfs unmounted."""
    if fs_type.is_ext:
        return ("resize2fs", str(path))
    if mount_path is None:
        raise ValueError(f"{fs_type.value} only grows mounted")
    if fs_type is FsType.XFS:
        return ("xfs_growfs", "-d", str(mount_path))
    return ("btrfs", "filesystem", "resize", "max", str(mount_path))


def parse_version(text: str) -> Version:
    """Find the first version number in a tool's answer; (0, 0), the oldest, when there is none."""
    for word in text.replace("v", " ").replace(",", " ").split():
        parts = word.split(".")
        if len(parts) > 1 and parts[0].isdigit() and parts[1].isdigit():
            return int(parts[0]), int(parts[1])
    return 0, 0


def _switched_off(fs_type: FsType, kernel: Version, tool: Version) -> tuple[str, ...]:
    words: list[str] = []
    for feature in NEW_FEATURES:
        if feature.fs_type is fs_type and kernel < feature.kernel and tool >= feature.tool:
            words += (feature.option, feature.off)
    return tuple(words)


def _ext_argv(fs_type: FsType, path: Path, size_bytes: int, words: tuple[str, ...]) -> tuple[str, ...]:
    # Lazy inode tables: the kernel does not read a table marked as uninitialised, so old bytes there do not matter.
    # Lazy journal: after a crash, old blocks of an earlier journal could be taken for new ones, unless each is checked
    # with a sum seeded by this file system's UUID. ext4 has those sums by default; where they may be missing (ext3, or
    # features chosen by the caller), the journal is zeroed. The disk's middle is not proved to read as zeros.
    sums = fs_type is FsType.EXT4 and not any("metadata_csum" in word or "extent" in word for word in words)
    lazy = f"nodiscard,lazy_itable_init=1,lazy_journal_init={1 if sums else 0}"
    joined = _joined(("-E", lazy, *words))
    return (program(fs_type), "-q", "-F", "-m0", *joined, "--", str(path), f"{size_bytes // 1024}k")


def _joined(words: tuple[str, ...]) -> tuple[str, ...]:
    """Join all `-E` lists into one and all `-O` lists: of several, mke2fs only honours the last."""
    lists: dict[str, list[str]] = {"-E": [], "-O": []}
    rest = []
    following = iter(words)
    for word in following:
        if word in lists:
            lists[word].append(next(following, ""))
        else:
            rest.append(word)
    joined = [part for option, values in lists.items() if values for part in (option, ",".join(values))]
    return (*joined, *rest)
