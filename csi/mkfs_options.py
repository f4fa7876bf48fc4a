"""Which extra arguments of mkfs a StorageClass may give: one table for controller, node and the reference page.

The table lists what is allowed, since each mkfs has options that move, share or only pretend to make a file system, and
new versions bring more. Not in it, for every file system: what forces or only simulates (`-F`, `-f`, `-n`, `-N` of
xfs), identities and labels (a label can be mistaken for one of the node's own file systems), sizes and places that the
driver has settled (`offset=`, `size=`, `--byte-count`), other devices and files (`-J device=`, `-l logdev=`, `-d` of
ext4), discarding, and what could be skipped only on a disk that is known to be zero. Nor block and sector sizes that
some kernels cannot mount.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from csi.errors import CsiError, ErrorKind

MAX_MKFS_OPTIONS = 32
_NUMBER = "N"
_PERCENT = "P"
_MAYBE_NOT = "[^]"
_PATTERN_OF_MARK = {
    _NUMBER: r"[0-9]{1,18}[bskmgtBSKMGT]?",
    _PERCENT: r"[0-9]{1,2}(?:\.[0-9]{1,3})?",
    _MAYBE_NOT: r"\^?",
}
_MARKS = re.compile("|".join(re.escape(mark) for mark in _PATTERN_OF_MARK))


@dataclass(frozen=True, slots=True)
class MkfsOption:
    """An option and what may be its value: one of `items`, or several of them with commas between."""

    word: str
    items: tuple[str, ...]
    """`N` stands for a number with or without a unit, `P` for a percentage, `[^]` for a caret or nothing."""
    several: bool = False


def _features(names: str) -> tuple[str, ...]:
    return tuple(_MAYBE_NOT + name for name in names.split())


_BLOCK_SIZES = ("1024", "2048", "4096")

_EXT = (
    MkfsOption("-b", _BLOCK_SIZES),
    MkfsOption("-C", (_NUMBER,)),
    MkfsOption("-e", ("continue", "remount-ro")),
    MkfsOption(
        "-E",
        (
            *("stride=N", "stripe_width=N", "resize=N", "mmp_update_interval=N", "orphan_file_size=N"),
            *("lazy_itable_init=0", "lazy_journal_init=0", "nodiscard", "num_backup_sb=1", "num_backup_sb=2"),
            *("packed_meta_blocks=0", "packed_meta_blocks=1", "root_owner=N:N", "encoding=utf8"),
            *("quotatype=usrquota", "quotatype=grpquota", "quotatype=prjquota"),
        ),
        several=True,
    ),
    MkfsOption("-g", (_NUMBER,)),
    MkfsOption("-G", (_NUMBER,)),
    MkfsOption("-i", (_NUMBER,)),
    MkfsOption("-I", (_NUMBER,)),
    MkfsOption("-J", ("size=N", "fast_commit_size=N"), several=True),
    MkfsOption("-m", (_PERCENT,)),
    MkfsOption("-N", (_NUMBER,)),
    MkfsOption(
        "-O",
        _features(
            "64bit bigalloc casefold dir_index dir_nlink ea_inode encrypt ext_attr extent extents extra_isize "
            "fast_commit filetype flex_bg has_journal huge_file inline_data large_dir large_file meta_bg metadata_csum "
            "metadata_csum_seed mmp orphan_file project quota resize_inode sparse_super sparse_super2 stable_inodes "
            "uninit_bg verity"
        ),
        several=True,
    ),
    MkfsOption("-T", ("small", "big", "huge", "news", "largefile", "largefile4")),
)
_XFS = (
    MkfsOption("-b", tuple(f"size={size}" for size in _BLOCK_SIZES)),
    MkfsOption(
        "-d",
        (
            *("agcount=N", "agsize=N", "sunit=N", "swidth=N", "su=N", "sw=N", "noalign"),
            *("cowextsize=N", "extszinherit=N", "projinherit=N", "daxinherit=0", "daxinherit=1"),
        ),
        several=True,
    ),
    MkfsOption(
        "-i",
        ("size=N", "maxpct=N", "sparse=0", "sparse=1", "nrext64=0", "nrext64=1", "exchange=0", "exchange=1"),
        several=True,
    ),
    MkfsOption("-l", ("size=N", "sunit=N", "su=N", "internal=1", "version=2", "lazy-count=1"), several=True),
    MkfsOption(
        "-m",
        (
            *("crc=1", "finobt=0", "finobt=1", "inobtcount=0", "inobtcount=1", "bigtime=0", "bigtime=1"),
            *("rmapbt=0", "rmapbt=1", "reflink=0", "reflink=1"),
        ),
        several=True,
    ),
    MkfsOption("-n", ("size=N", "version=2", "ftype=1", "parent=0", "parent=1"), several=True),
    MkfsOption("-s", ("size=512", *(f"size={size}" for size in _BLOCK_SIZES))),
)
_BTRFS = (
    MkfsOption("--csum", ("crc32c", "xxhash", "sha256", "blake2")),
    MkfsOption("-d", ("single", "dup")),
    MkfsOption("-m", ("single", "dup")),
    MkfsOption("-n", (_NUMBER,)),
    MkfsOption(
        "-O",
        _features("block-group-tree extref free-space-tree mixed-bg no-holes quota skinny-metadata squota"),
        several=True,
    ),
    MkfsOption("-R", _features("block-group-tree free-space-tree quota"), several=True),
    MkfsOption("-s", ("4096", "4k")),
)

MKFS_OPTIONS: Mapping[str, tuple[MkfsOption, ...]] = MappingProxyType(
    {"ext4": _EXT, "ext3": _EXT, "xfs": _XFS, "btrfs": _BTRFS}
)
"""The table, by file system."""


def parse_mkfs_options(text: str, fs_types: Iterable[str] = ()) -> tuple[str, ...]:
    """Split and check extra arguments of mkfs (StorageClass parameter `mkfsOptions`).

    They are pairs of an option and its value, each a word of its own, and have to be allowed for each of `fs_types`;
    without any, as for a raw volume, for one of the known ones. Raises CsiError INVALID naming the word.
    """
    words = tuple(text.split())
    if len(words) > MAX_MKFS_OPTIONS:
        raise CsiError(ErrorKind.INVALID, f"mkfsOptions has {len(words)} words; at most {MAX_MKFS_OPTIONS} are allowed")
    problems = [_problem(words, fs_type) for fs_type in fs_types]
    if not problems:
        problems = sorted((_problem(words, fs_type) for fs_type in MKFS_OPTIONS), key=bool)[:1]
    for problem in filter(None, problems):
        raise CsiError(ErrorKind.INVALID, f"mkfsOptions: {problem}; the reference of parameters has the whole list")
    return words


@cache
def pattern_of(option: MkfsOption) -> "re.Pattern[str]":
    """Give the pattern of the option's value."""
    item = "|".join(_pattern_of_item(item) for item in option.items)
    return re.compile(f"(?:{item})(?:,(?:{item}))*" if option.several else f"(?:{item})")


def _pattern_of_item(item: str) -> str:
    pattern, end = "", 0
    for mark in _MARKS.finditer(item):
        pattern += re.escape(item[end : mark.start()]) + _PATTERN_OF_MARK[mark[0]]
        end = mark.end()
    return pattern + re.escape(item[end:])


def _problem(words: tuple[str, ...], fs_type: str) -> str:
    """Say what is not allowed for a file system; empty when all is."""
    if fs_type not in MKFS_OPTIONS:
        return f"{fs_type[:80]!r} is no file system that this driver makes"
    options = {option.word: option for option in MKFS_OPTIONS[fs_type]}
    for index in range(0, len(words), 2):
        word, value = words[index], words[index + 1] if index + 1 < len(words) else None
        option = options.get(word)
        if option is None:
            known = ", ".join(options)
            return f"{word[:80]!r} is no option for {fs_type} here; allowed are {known}, each followed by its value"
        if value is None:
            return f"{word} has no value; options and values are words of their own"
        if not pattern_of(option).fullmatch(value):
            return f"{value[:80]!r} is not allowed as the value of {word} for {fs_type}"
    return ""
