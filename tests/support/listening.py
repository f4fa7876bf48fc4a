"""Listening with the files of kaas' phone-home listener."""

import ssl
from pathlib import Path

from kaas.bootstrap.tls import server_files


def server_context(folder: Path) -> ssl.SSLContext:
    """Give what a server listens with; `listener_tls` has put the files into the folder. Blocking."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*server_files(folder))
    return context
