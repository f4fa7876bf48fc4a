"""The docker-archives, read back with tarfile."""

import gzip
import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster.archive import Entry, write_image

NAMES = ("registry.k8s.io/thing:1", "registry.k8s.io/thing:2")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program"
    path.write_bytes(b"\x7fELF")
    return path


def _write(target: Path, program: Path, *, reverse: bool = False) -> Path:
    entries = {
        "/usr/bin/thing": Entry(source=program),
        "/bin/thing": Entry(link="/usr/bin/thing"),
        "/etc/passwd": Entry(text="root:x:0:0\n", mode=0o644),
    }
    ordered = dict(reversed(entries.items())) if reverse else entries
    write_image(target, ordered, names=NAMES, entrypoint=("/usr/bin/thing",), command=("run",), architecture="amd64")
    return target


def _json(archive: tarfile.TarFile, name: str) -> Any:
    return json.loads(_content(archive, name))


def _content(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None
    return file.read()


def test_what_is_written_is_an_image_that_names_its_parts_by_their_digests(tmp_path: Path, program: Path) -> None:
    with tarfile.open(_write(tmp_path / "image.tar", program)) as archive:
        [manifest] = _json(archive, "manifest.json")
        assert manifest["RepoTags"] == list(NAMES)
        raw = _content(archive, manifest["Config"])
        assert manifest["Config"] == f"{hashlib.sha256(raw).hexdigest()}.json"
        config = json.loads(raw)
        assert (config["architecture"], config["os"]) == ("amd64", "linux")
        assert config["config"]["Entrypoint"] == ["/usr/bin/thing"]
        assert config["config"]["Cmd"] == ["run"]
        [layer_name] = manifest["Layers"]
        layer_digest = hashlib.sha256(gzip.decompress(_content(archive, layer_name))).hexdigest()
        assert config["rootfs"]["diff_ids"] == [f"sha256:{layer_digest}"]


def test_the_layer_holds_the_files_and_every_folder_before_what_is_in_it(tmp_path: Path, program: Path) -> None:
    with tarfile.open(_write(tmp_path / "image.tar", program)) as archive:
        [manifest] = _json(archive, "manifest.json")
        with tarfile.open(fileobj=archive.extractfile(manifest["Layers"][0])) as layer:
            members = {member.name: member for member in layer.getmembers()}
            seen: set[str] = set()
            for member in layer.getmembers():
                assert str(Path(member.name).parent) in {".", *seen}, member.name
                seen.add(member.name)
            assert _content(layer, "usr/bin/thing") == b"\x7fELF"
            assert members["usr/bin/thing"].mode == 0o755
            assert members["bin/thing"].linkname == "/usr/bin/thing"
            assert members["etc/passwd"].mode == 0o644
            assert members["tmp"].mode == 0o1777
            assert {(member.uid, member.gid, member.mtime) for member in members.values()} == {(0, 0, 0)}


def test_the_same_content_gives_the_same_bytes(tmp_path: Path, program: Path) -> None:
    first = _write(tmp_path / "first.tar", program).read_bytes()
    program.touch()
    assert _write(tmp_path / "second.tar", program, reverse=True).read_bytes() == first
