"""Machine images: a folder with `root/`, and `image.json` where some of the root cannot lie on an overlay.

`image.json` is `{"data": {"/var/lib/containerd": "containerd"}}`: the folder `containerd` beside `root/` is copied for
each machine and mounted at that path. `root/` is read-only and shared by all machines: do not change it while one runs.
"""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import msgspec

from devcloud.errors import BackendError

_INITS = ("/usr/lib/systemd/systemd", "/lib/systemd/systemd", "/usr/sbin/init", "/sbin/init")
UNUSABLE = ":,\\"
"""Characters that the options of mounts give another meaning."""


class _Description(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    data: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class MachineImage:
    """An image that machines can be made from."""

    name: str
    root: Path
    init: str
    """Path in the machine of the program that it boots with."""
    data: dict[str, Path]
    """Paths in the machine, with the folder that each gets a copy of."""


def load_image(name: str, folder: Path) -> MachineImage:
    """Read an image; raises BackendError that says what is wrong with it."""
    where = f"machine image {name!r} ({folder})"
    root = folder.resolve() / "root"
    if set(UNUSABLE) & set(str(root)):
        raise BackendError(f"{where}: the path may have none of the characters {' '.join(UNUSABLE)}")
    init = next((path for path in _INITS if _is_there(root / path.lstrip("/"))), None)
    if init is None:
        raise BackendError(f"{where}: root/ has no systemd (sbin/init); a machine cannot boot from it")
    data = {path: _data_folder(where, folder, path, beside) for path, beside in _data(where, folder).items()}
    return MachineImage(name, root, init, data)


def _is_there(path: Path) -> bool:
    # A link may lead to a place that is only right inside of the machine.
    return path.is_symlink() or path.exists()


def _data(where: str, folder: Path) -> dict[str, str]:
    file = folder / "image.json"
    if not file.exists():
        return {}
    try:
        return msgspec.json.decode(file.read_bytes(), type=_Description).data
    except (OSError, msgspec.DecodeError) as error:
        raise BackendError(f"{where}: image.json cannot be used: {error}") from error


def _data_folder(where: str, folder: Path, path: str, beside: str) -> Path:
    target = PurePosixPath(path)
    if not target.is_absolute() or target == PurePosixPath("/") or ".." in target.parts or set(UNUSABLE) & set(path):
        raise BackendError(f"{where}: image.json: {path!r} is no path of a folder in the machine")
    if beside in {"", ".", "..", "root"} or "/" in beside or set(UNUSABLE) & set(beside):
        raise BackendError(f"{where}: image.json: {beside!r} is no name of a folder beside root/")
    found = folder.resolve() / beside
    if not found.is_dir():
        raise BackendError(f"{where}: image.json names the folder {beside!r}, which is not there")
    return found
