import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csi import validate
from csi.errors import CsiError, ErrorKind
from csi.pb import csi_pb2
from csi.validate import SizeRange

INT64_MAX = 2**63 - 1
controls = st.characters(categories=["Cc"])
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


def refused(call, *args, **kwargs) -> str:
    with pytest.raises(CsiError) as caught:
        call(*args, **kwargs)
    assert caught.value.kind is ErrorKind.INVALID
    return caught.value.message


@pytest.mark.parametrize(
    "call", [validate.required_text, validate.volume_id, validate.snapshot_id, validate.node_id, validate.object_name]
)
def test_an_empty_identifier_is_missing_under_its_name(call) -> None:
    assert refused(call, "", "some_field") == "some_field is missing"


def test_the_limit_counts_bytes_and_not_characters() -> None:
    assert validate.volume_id("ä" * 64) == "ä" * 64
    assert "volume_id has 130 bytes" in refused(validate.volume_id, "ä" * 65)


def test_a_node_id_may_have_256_bytes() -> None:
    assert validate.node_id("n" * 256)
    assert "257 bytes" in refused(validate.node_id, "n" * 257)


def test_a_name_of_ten_kib_is_refused_with_a_short_text() -> None:
    message = refused(validate.object_name, "x" * 10240)
    assert message.startswith("name has 10240 bytes")
    assert len(message) < 250


@given(before=st.text(max_size=5), control=controls, after=st.text(max_size=5))
def test_no_identifier_holds_a_control_character(before: str, control: str, after: str) -> None:
    message = refused(validate.required_text, before + control + after, "volume_id", max_bytes=4096)
    assert message.startswith("volume_id is ")
    assert not validate.has_control(message)


def test_names_may_hold_white_space_but_no_other_control() -> None:
    assert validate.object_name("a\tb\nc") == "a\tb\nc"
    assert refused(validate.object_name, "a\x00b").startswith("name is 'a\\x00b'")
    assert refused(validate.object_name, "a\x85b")


@given(texts)
def test_a_checked_text_is_the_text_itself_or_an_error(value: str) -> None:
    is_good = len(value.encode()) <= 128 and not any(unicodedata.category(letter) == "Cc" for letter in value)
    if is_good:
        assert validate.optional_text(value, "field") == value
    else:
        assert refused(validate.optional_text, value, "field").startswith("field ")


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("", "is missing"),
        ("relative/path", "an absolute path is needed"),
        ("./x", "an absolute path is needed"),
        ("/a/../b", "without '..'"),
        ("/..", "without '..'"),
        ("/a/./b", "without '.'"),
        ("/a\x00b", "control characters"),
        ("/a\nb", "control characters"),
        ("/", "is the root directory"),
        ("///", "is the root directory"),
        ("/" + "a" * 4096, "at most 4096"),
        ("/x/" + "ä" * 128, "more than 255 bytes"),
    ],
)
def test_bad_paths_are_refused_with_the_reason(value: str, problem: str) -> None:
    message = refused(validate.absolute_path, value, "target_path")
    assert message.startswith("target_path ")
    assert problem in message


def test_superfluous_slashes_are_taken_out() -> None:
    assert validate.absolute_path("//var///lib/kubelet/", "p") == "/var/lib/kubelet"


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/"), min_size=1, max_size=20))
)
def test_an_accepted_path_never_leaves_its_parent(parts: list[str]) -> None:
    try:
        path = validate.absolute_path("/" + "/".join(parts), "p")
    except CsiError:
        return
    assert ".." not in path.split("/")
    assert path.startswith("/")
    assert validate.absolute_path(path, "p") == path


@pytest.mark.parametrize(
    ("required", "limit"), [(0, 0), (1, 0), (0, 1), (5, 5), (INT64_MAX, INT64_MAX), (1, INT64_MAX)]
)
def test_sizes_that_can_be_had_are_taken_over(required: int, limit: int) -> None:
    sizes = csi_pb2.CapacityRange(required_bytes=required, limit_bytes=limit)
    assert validate.bytes_range(sizes) == SizeRange(required, limit)


@pytest.mark.parametrize(
    ("required", "limit", "field"),
    [
        (-1, 0, "capacity_range.required_bytes"),
        (0, -1, "capacity_range.limit_bytes"),
        (-(2**63), 0, "capacity_range.required_bytes"),
        (2, 1, "capacity_range.limit_bytes"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(required: int, limit: int, field: str) -> None:
    sizes = csi_pb2.CapacityRange(required_bytes=required, limit_bytes=limit)
    assert refused(validate.bytes_range, sizes).startswith(field)


def test_an_unset_size_is_open_where_it_is_optional_and_missing_where_it_is_not() -> None:
    request = csi_pb2.ControllerExpandVolumeRequest()
    assert validate.bytes_range(request.capacity_range) == SizeRange()
    assert refused(validate.required_range, request) == "capacity_range is missing"
    request.capacity_range.SetInParent()
    assert refused(validate.required_range, request).startswith("capacity_range is empty")
    request.capacity_range.limit_bytes = 7
    assert validate.required_range(request) == SizeRange(0, 7)


def test_an_unset_message_is_missing_although_reading_it_works() -> None:
    request = csi_pb2.NodeStageVolumeRequest()
    assert request.volume_capability is not None
    assert refused(validate.required_message, request, "volume_capability") == "volume_capability is missing"
    request.volume_capability.SetInParent()
    validate.required_message(request, "volume_capability")


def test_a_negative_page_size_is_refused() -> None:
    assert validate.page_size(0) == 0
    assert refused(validate.page_size, -1).startswith("max_entries is -1")


def test_an_open_enum_hands_over_unknown_numbers_and_they_are_refused() -> None:
    request = csi_pb2.VolumeCapability.AccessMode()
    request.ParseFromString(b"\x08\x63")
    known = csi_pb2.VolumeCapability.AccessMode.Mode
    assert request.mode == 99
    assert "is 99, a value that CSI 1.13 does not define" in refused(validate.known_number, request.mode, known, "mode")
    assert "is missing" in refused(validate.known_number, 0, known, "mode")
    assert validate.known_number(1, known, "mode") == 1


def test_a_map_may_have_4_kib_in_all_and_not_a_byte_more() -> None:
    assert validate.string_map({"k": "v" * 4095}, "parameters")
    assert "4097 bytes" in refused(validate.string_map, {"k": "v" * 4096}, "parameters")
    assert "at most 4096" in refused(validate.string_map, {"k" * 5000: ""}, "parameters")
    assert "at most 4096" in refused(validate.string_map, {str(n): "v" * 60 for n in range(100)}, "parameters")


@pytest.mark.parametrize("value", [{"": "v"}, {"a\x00": "v"}, {"a\n": "v"}, {"a": "v\x1b"}])
def test_maps_with_empty_or_control_parts_are_refused(value: dict[str, str]) -> None:
    assert refused(validate.string_map, value, "parameters").startswith("parameters")


def test_a_map_comes_back_as_a_copy() -> None:
    value = {"a": "line 1\nline 2"}
    assert validate.string_map(value, "p") == value
    assert validate.string_map(value, "p") is not value


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_shown_values_are_short_and_escaped(value: str) -> None:
    assert not validate.has_control(validate.shown(value))
    assert len(validate.shown(value)) <= 80 * 10 + 3
