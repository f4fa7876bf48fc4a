import pytest

from kaas.domain.catalogue import PLATFORM_TYPES, read_catalogue
from kaas.domain.model import Cni
from kaas.domain.versions import parse_version


def test_a_catalogue_of_versions_and_what_their_images_hold() -> None:
    catalogue = read_catalogue(
        b"versions:\n"
        b"  - {version: v1.29.0, image: kubernetes-v1.29.0}\n"
        b"  - {version: v1.36.3, image: kubernetes-v1.36.3, cnis: [flannel], components: {containerd: 2.1.4}}\n"
    )
    assert catalogue.versions == ("v1.36.3", "v1.29.0")
    assert catalogue.types == PLATFORM_TYPES
    offline = catalogue.offer(parse_version("v1.36.3"))
    assert offline is not None
    assert offline.image == "kubernetes-v1.36.3"
    assert [cni for cni in Cni if offline.has(cni)] == [Cni.FLANNEL, Cni.BRIDGE, Cni.NONE]
    online = catalogue.offer(parse_version("v1.29.0"))
    assert online is not None
    assert all(online.has(cni) for cni in Cni)
    assert catalogue.offer(parse_version("v1.29.1")) is None


def test_instance_types_of_another_platform() -> None:
    catalogue = read_catalogue(
        b"versions: [{version: v1.29.0, image: i}]\ninstance_types: [{name: big, vcpus: 64, memory_mb: 262144}]\n"
    )
    assert catalogue.instance_type("standard-1") is None
    big = catalogue.instance_type("big")
    assert big is not None
    assert big.vcpus == 64


def test_versions_that_conductors_would_not_get_into_are_not_offered() -> None:
    with pytest.raises(ValueError, match=r"v1\.28\.15 is older than v1\.29\.0"):
        read_catalogue(b"versions: [{version: v1.28.15, image: i}, {version: v1.29.0, image: j}]")


def test_everything_that_is_wrong_is_said_at_once() -> None:
    content = (
        b"versions: [{version: v1.29.0, image: ''}, {version: latest, image: i}, {version: 1.29.0, image: j}]\n"
        b"instance_types: [{name: a, vcpus: 0, memory_mb: 1}, {name: a, vcpus: 1, memory_mb: 1}]\n"
    )
    with pytest.raises(ValueError, match="has no image") as caught:
        read_catalogue(content)
    for words in ("'latest' is no version", "version v1.29.0 is there more than once", "type a is there", "'a' needs"):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"versions: []", b"versions: {}", b"versions: [{image: i}]", b"a: [", b"other: 1"]
)
def test_what_is_no_catalogue(content: bytes) -> None:
    with pytest.raises(ValueError, match="catalogue"):
        read_catalogue(content)
