"""The parser of the kernel's mount table."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node import mountinfo
from node.model import DeviceNumber, MountEntry

ESCAPED = " \t\n\\#"
PATHS = st.lists(
    st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1).filter(
        lambda part: part not in {".", ".."}
    ),
    min_size=1,
    max_size=4,
).map(lambda parts: "/" + "/".join(parts))
WORDS = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, blacklist_characters="\\,-"), min_size=1, max_size=12
)
OPTIONS = st.lists(WORDS, min_size=1, max_size=4).map(tuple)
ENTRIES = st.builds(
    MountEntry,
    mount_id=st.integers(0, 2**31),
    parent_id=st.integers(0, 2**31),
    device=st.builds(DeviceNumber, st.integers(0, 4095), st.integers(0, 2**20)),
    root=PATHS,
    mount_point=PATHS.map(Path),
    options=OPTIONS,
    fs_type=WORDS,
    source=PATHS,
    super_options=OPTIONS,
)


def escape(text: str) -> str:
    return "".join(f"\\{ord(char):03o}" if char in ESCAPED else char for char in text)


def line(entry: MountEntry, optional: list[str]) -> str:
    fields = [
        *(str(entry.mount_id), str(entry.parent_id), str(entry.device), escape(entry.root)),
        *(escape(str(entry.mount_point)), ",".join(entry.options), *optional, "-"),
        *(entry.fs_type, escape(entry.source), ",".join(entry.super_options)),
    ]
    return " ".join(fields)


@given(st.lists(st.tuples(ENTRIES, st.lists(st.sampled_from(["shared:7", "master:1", "unbindable"]), max_size=3))))
def test_every_entry_survives_escaping_and_optional_fields(pairs: list[tuple[MountEntry, list[str]]]) -> None:
    text = "".join(line(entry, optional) + "\n" for entry, optional in pairs)
    assert mountinfo.parse(text) == tuple(entry for entry, _ in pairs)


@given(
    st.text(st.characters(blacklist_characters="\n"), min_size=1, max_size=200).filter(lambda text: " - " not in text)
)
def test_a_line_that_is_no_entry_is_an_error_that_shows_it(text: str) -> None:
    with pytest.raises(ValueError, match="no entry of a mount table"):
        mountinfo.parse(text + "\n")


def test_a_line_as_the_kernel_prints_it() -> None:
    text = r"36 35 98:0 /mnt1 /mnt\0402 rw,noatime master:1 - ext3 /dev/root rw,errors=continue" + "\n"
    (entry,) = mountinfo.parse(text)
    assert entry.mount_point == Path("/mnt 2")
    assert entry.device == DeviceNumber(98, 0)
    assert entry.options == ("rw", "noatime")
    assert not entry.read_only


@pytest.mark.parametrize("options", [("ro", "rw"), ("rw", "ro")])
def test_read_only_of_either_the_mount_or_the_file_system_counts(options: tuple[str, str]) -> None:
    (entry,) = mountinfo.parse(f"1 2 8:0 / /a {options[0]} - ext4 /dev/sda {options[1]}\n")
    assert entry.read_only
