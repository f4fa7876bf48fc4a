"""Makes and removes the folder or file at a target path, never through a link and never with content in it.

CSI 1.13: the caller makes the parent folder, the plugin makes and removes the last part; a staging folder is the
caller's. Not here: mounting on it.
"""

import errno
import logging
import os
import stat
from pathlib import Path

from csi.errors import CsiError, ErrorKind

_LOG = logging.getLogger(__name__)

FOLDER_MODE = 0o750
FILE_MODE = 0o600


def make_target(target: Path, *, block: bool) -> bool:
    """Make the target unless it is there in the right kind; say whether it was made (blocking).

    A folder for a file system, an empty file for raw block. One that is there has to be empty, because a volume over it
    would hide what it holds. Raises CsiError PRECONDITION when the parent is missing or something else is in the way,
    INTERNAL when the host refuses.
    """
    try:
        if block:
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE))
        else:
            target.mkdir(mode=FOLDER_MODE)
    except FileExistsError:
        _check_empty(target, block=block)
        return False
    except FileNotFoundError:
        raise CsiError(
            ErrorKind.PRECONDITION, f"target path {target}: its parent folder does not exist; the caller has to make it"
        ) from None
    except OSError as error:
        raise CsiError(ErrorKind.INTERNAL, f"target path {target} cannot be made: {error.strerror}") from error
    return True


def remove_target(target: Path) -> None:
    """Remove an unmounted target; none there is fine (blocking).

    Only an empty folder or an empty file is removed. Raises CsiError PRECONDITION for anything else.
    """
    try:
        mode = target.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise CsiError(ErrorKind.INTERNAL, f"target path {target} cannot be read: {error.strerror}") from error
    try:
        if stat.S_ISDIR(mode.st_mode):
            target.rmdir()
        elif stat.S_ISREG(mode.st_mode) and mode.st_size == 0:
            target.unlink()
        else:
            raise CsiError(
                ErrorKind.PRECONDITION,
                f"target path {target} is not mounted, and is neither a folder nor an empty file; it was left alone. "
                "Look at it and remove it.",
            )
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
            raise CsiError(
                ErrorKind.PRECONDITION,
                f"target path {target} is not mounted, yet holds files; something wrote to the host's disk. They were "
                "left alone: move them away.",
            ) from error
        raise CsiError(ErrorKind.INTERNAL, f"target path {target} cannot be removed: {error.strerror}") from error


def check_staging_folder(folder: Path, *, may_hide: bool) -> None:
    """Look at the folder that a volume is about to be mounted on (blocking).

    `may_hide`: the folder is the kubelet's, where files can only have come from a pod that wrote beside its volume;
    they are told of and mounted over. Raises CsiError PRECONDITION for any other folder with content.
    """
    try:
        with os.scandir(folder) as entries:
            if next(entries, None) is None:
                return
    except OSError:
        return  # mount itself says what is wrong with it
    text = f"staging path {folder} holds files, which the volume hides while it is mounted"
    if not may_hide:
        raise CsiError(ErrorKind.PRECONDITION, f"{text}; it was not mounted. Move them away, or use an empty folder.")
    _LOG.warning("%s", text)


def _check_empty(target: Path, *, block: bool) -> None:
    try:
        found = target.lstat()
        fits = stat.S_ISREG(found.st_mode) if block else stat.S_ISDIR(found.st_mode)
        holds = fits and (found.st_size > 0 if block else any(target.iterdir()))
    except OSError as error:
        raise CsiError(ErrorKind.INTERNAL, f"target path {target} cannot be read: {error.strerror}") from error
    if not fits:
        raise CsiError(
            ErrorKind.PRECONDITION,
            f"target path {target} exists and is no {'file' if block else 'folder'}; it was left alone. Remove it.",
        )
    if holds:
        raise CsiError(
            ErrorKind.PRECONDITION,
            f"target path {target} is not empty, and the volume would hide what it holds; it was left alone. Move that "
            "away.",
        )
