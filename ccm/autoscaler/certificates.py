"""The server's certificate and the authority of its callers, from files that are replaced while it serves."""

import asyncio
import logging
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

LOG = logging.getLogger("ccm.autoscaler")

_LOOK_EVERY_S = 10.0


class CertificateError(Exception):
    """The files hold no certificate that can be served; the text says which and why."""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where the server's certificate, its key, and the authority of its callers are (PEM)."""

    certificate: Path
    key: Path
    authority: Path


class Certificates:
    """Certificates as gRPC needs them; new connections get what the files held last."""

    def __init__(self, files: CertificateFiles) -> None:
        self._files = files
        self._served: tuple[bytes, ...] = ()
        self._fresh: tuple[bytes, ...] = ()

    async def credentials(self) -> grpc.ServerCredentials:
        """Read the files and give credentials that demand a certificate of callers; raises CertificateError."""
        self._served = self._fresh = await asyncio.to_thread(self._read)
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self._served),
            self._fetch,  # type: ignore[arg-type]  # None means "nothing new", which the stubs leave out
            require_client_authentication=True,
        )

    async def watch(self) -> None:
        """Follow the files, for ever. What cannot be used is logged, and what was served before stays."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            await self.look()

    async def look(self) -> None:
        """Read the files once more."""
        try:
            fresh = await asyncio.to_thread(self._read)
        except CertificateError as error:
            LOG.error("%s; serving with the certificate of before", error)  # noqa: TRY400 - the text says it all
            return
        if fresh != self._fresh:
            LOG.info("certificate read again from %s", self._files.certificate)
            self._fresh = fresh

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        # gRPC asks at each handshake, and keeps what it has when there is nothing new.
        if self._fresh == self._served:
            return None
        self._served = self._fresh
        return _configuration(self._served)

    def _read(self) -> tuple[bytes, ...]:
        files = self._files
        try:
            key, certificate, authority = (
                path.read_bytes() for path in (files.key, files.certificate, files.authority)
            )
            # A key that does not belong to the certificate is what a rotation looks like half way.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(files.certificate, files.key)
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=authority.decode("ascii"))
        except OSError as error:
            where = error.filename or f"{files.certificate}, {files.key}, {files.authority}"
            raise CertificateError(f"TLS files: {where}: {error.strerror or type(error).__name__}") from error
        except ValueError as error:
            raise CertificateError(f"TLS files: {files.authority}: no certificate of an authority in it") from error
        return key, certificate, authority


def _configuration(parts: tuple[bytes, ...]) -> grpc.ServerCertificateConfiguration:
    key, certificate, authority = parts
    return grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=authority)
