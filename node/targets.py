"""Makes and removes the folder or file at a target path, never through a link and never with content in it.

CSI 1.13: the caller makes the parent folder, the plugin makes and removes the last part. Not here: mounting on it.
"""

import errno
import os
import stat
from pathlib import Path

from csi.errors import CsiError, ErrorKind

FOLDER_MODE = 0o750
FILE_MODE = 0o600


def make_target(target: Path, *, block: bool) -> bool:
    """Make the target unless it is there in the right kind; say whether it was made (blocking).

    A folder for a file system, an empty file for raw block. Raises CsiError PRECONDITION when the parent is missing or
    something of another kind is in the way, INTERNAL when the host refuses.
    """
    try:
        if block:
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE))
        else:
            target.mkdir(mode=FOLDER_MODE)
    except FileExistsError:
        _check_kind(target, block=block)
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

    Only an empty folder, an empty file or a device node is removed. Raises CsiError PRECONDITION for anything else.
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


def _check_kind(target: Path, *, block: bool) -> None:
    mode = target.lstat().st_mode
    fits = stat.S_ISREG(mode) if block else stat.S_ISDIR(mode)
    # A raw block target that is published already shows the device node that is mounted on it.
    if not fits and not (block and stat.S_ISBLK(mode)):
        raise CsiError(
            ErrorKind.PRECONDITION,
            f"target path {target} exists and is no {'file' if block else 'folder'}; it was left alone. Remove it.",
        )
