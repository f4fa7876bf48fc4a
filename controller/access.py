"""Opening the client of the platform with a program's settings; a file that cannot be used is named by its option."""

from collections.abc import Callable

from controller.settings import PlatformOptions
from csi.errors import CsiError, ErrorKind
from thecloud.client import Client
from thecloud.transport import Observer, ignore


def open_client(
    settings: PlatformOptions, *, request_id: Callable[[], str] = str, observer: Observer = ignore
) -> Client:
    """Give a client, which the caller closes. Raises CsiError INVALID for a CA file without usable certificates."""
    try:
        return Client(settings.platform(), request_id=request_id, observer=observer)
    except OSError as error:
        raise CsiError(
            ErrorKind.INVALID,
            f"--ca-file {settings.ca_file} holds no certificates that can be used: {error}. Give it the PEM file of "
            "the authorities that sign the platform's certificate, or leave it out to use the system's",
        ) from error
