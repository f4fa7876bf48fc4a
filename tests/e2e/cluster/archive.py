"""A writer of container images as docker-archive: one compressed layer, the configuration, and the list of names.

The same content gives the same bytes: entries sorted, owned by root, without times.
"""

import gzip
import hashlib
import io
import json
import platform
import shutil
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
SEARCH_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
STICKY_FOLDERS = frozenset({"tmp", "var/tmp"})
STANDARD_FOLDERS = ("dev", "etc", "proc", "root", "run", "sys", "tmp", "var/run")
"""In every image: mount points of the container runtime, and what programs take for granted."""
SOURCE = Path(__file__).read_bytes()
_CREATED = "1970-01-01T00:00:00Z"
_LEVEL = 1
"""The quickest; programs shrink to a third, and no level makes them much smaller."""
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of an image: the content of a file of this host, or a text, or a link; none of them is a folder."""

    source: Path | None = None
    text: str | None = None
    link: str | None = None
    mode: int = 0o755


Entries = Mapping[str, Entry]
"""By absolute path in the image; the folders on the way are added."""


def host_architecture() -> str:
    """Give the architecture of this host as images name it."""
    return ARCHITECTURES.get(platform.machine(), platform.machine())


def write_image(
    target: Path,
    entries: Entries,
    *,
    names: Sequence[str],
    entrypoint: Sequence[str] = (),
    command: Sequence[str] = (),
    architecture: str,
) -> None:
    """Write an image with these names to `target`."""
    with tempfile.TemporaryFile(dir=target.parent) as layer, tempfile.TemporaryFile(dir=target.parent) as packed:
        _write_layer(layer, entries)
        layer_digest = _sha256(layer)
        _pack(layer, packed)
        config = _json(
            {
                "architecture": architecture,
                "os": "linux",
                "created": _CREATED,
                "config": _run_config(entrypoint, command),
                "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_digest}"]},
                "history": [{"created": _CREATED}],
            }
        )
        config_name = f"{hashlib.sha256(config).hexdigest()}.json"
        layer_name = f"{layer_digest}.tar.gz"
        manifest = _json([{"Config": config_name, "RepoTags": list(names), "Layers": [layer_name]}])
        with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
            _add(archive, config_name, io.BytesIO(config), len(config), mode=0o644)
            _add(archive, layer_name, packed, _size(packed), mode=0o644)
            _add(archive, "manifest.json", io.BytesIO(manifest), len(manifest), mode=0o644)


def _pack(layer: IO[bytes], packed: IO[bytes]) -> None:
    """Compress a layer: a container runtime keeps it beside the unpacked files, in every machine."""
    layer.seek(0)
    with gzip.GzipFile(filename="", fileobj=packed, mode="wb", compresslevel=_LEVEL, mtime=0) as file:
        shutil.copyfileobj(layer, file, _CHUNK_BYTES)


def _run_config(entrypoint: Sequence[str], command: Sequence[str]) -> dict[str, list[str]]:
    config = {"Env": [SEARCH_PATH]}
    if entrypoint:
        config["Entrypoint"] = list(entrypoint)
    if command:
        config["Cmd"] = list(command)
    return config


def _write_layer(file: IO[bytes], entries: Entries) -> None:
    by_name = {path.strip("/"): entry for path, entry in entries.items()}
    folders = {*STANDARD_FOLDERS, *(str(parent) for name in by_name for parent in PurePosixPath(name).parents)} - {"."}
    folders |= {str(parent) for name in STANDARD_FOLDERS for parent in PurePosixPath(name).parents} - {"."}
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as layer:
        # Sorted, a folder comes before what is in it.
        for name in sorted({*folders, *by_name}):
            if name in by_name:
                _add_entry(layer, name, by_name[name])
            else:
                _add_folder(layer, name)


def _add_folder(layer: tarfile.TarFile, name: str) -> None:
    info = tarfile.TarInfo(name)
    info.type = tarfile.DIRTYPE
    info.mode = 0o1777 if name in STICKY_FOLDERS else 0o755
    layer.addfile(info)


def _add_entry(layer: tarfile.TarFile, name: str, entry: Entry) -> None:
    if entry.link is not None:
        info = tarfile.TarInfo(name)
        info.type = tarfile.SYMTYPE
        info.mode = 0o777
        info.linkname = entry.link
        layer.addfile(info)
    elif entry.source is not None:
        with entry.source.open("rb") as content:
            _add(layer, name, content, _size(content), mode=entry.mode)
    else:
        raw = (entry.text or "").encode()
        _add(layer, name, io.BytesIO(raw), len(raw), mode=entry.mode)


def _add(archive: tarfile.TarFile, name: str, content: IO[bytes], size_bytes: int, *, mode: int) -> None:
    info = tarfile.TarInfo(name)
    info.size = size_bytes
    info.mode = mode
    content.seek(0)
    archive.addfile(info, content)


def _size(file: IO[bytes]) -> int:
    return file.seek(0, io.SEEK_END)


def _sha256(file: IO[bytes]) -> str:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
