"""Where the API server is and how this program shows who it is: kubeconfig, service account or exec plugin.

Everything is read by the official `kubernetes` package. Its own refreshing is not used: it reads a token file of a
kubeconfig once, and times the one of a service account by the wall clock, which may jump.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import load_kube_config
from kubernetes.aio.config.incluster_config import InClusterConfigLoader

from ccm.kube.errors import Unusable

_log = logging.getLogger(__name__)

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_READ_AGAIN_S = 60.0
"""How old credentials may be before they are read again; tokens of pods are replaced minutes before they end."""
_REFUSED_AGAIN_S = 5.0
"""Credentials that were refused are read again at once, but not more often than this."""
_LOADING_S = 30.0
_EXPIRY_MARGIN = timedelta(minutes=5)
_HINT = (
    "check that its current-context, that context's cluster and user exist, and that the files and the command that it "
    "names can be used"
)

_load_kube_config: Any = load_kube_config
_InClusterConfigLoader: Any = InClusterConfigLoader
# The package is typed in parts only.

Load = Callable[[], Awaitable["Loaded"]]


class Loaded:
    """What was read, and until when it need not be read again (None: not known)."""

    def __init__(self, configuration: Any, expires: datetime | None = None) -> None:
        self.configuration = configuration
        self.expires = expires

    @property
    def authorization(self) -> str:
        """The header's value; empty without a token."""
        # A token's file may end in a newline, and the package writes the scheme in two ways.
        scheme, _, token = str(self.configuration.api_key.get("BearerToken", "")).strip().partition(" ")
        return f"{scheme.capitalize()} {token.strip()}" if token else ""


def from_kubeconfig(path: Path, master: str) -> Load:
    """Read a kubeconfig; `master` overrides its server."""

    async def load() -> Loaded:
        if not await asyncio.to_thread(path.is_file):
            raise Unusable(f"kubeconfig {path}: there is no such file")
        configuration = Configuration()
        try:
            loader = await _load_kube_config(str(path), client_configuration=configuration, persist_config=False)
        except Exception as error:  # noqa: BLE001 - whatever a malformed file makes the package stumble over
            # Neither the package's text nor its error goes on: they may quote the user's entry with its token.
            raise Unusable(f"kubeconfig {path}: it cannot be used ({type(error).__name__}); {_HINT}") from None
        if master:
            configuration.host = master
        return Loaded(configuration, getattr(loader, "exec_plugin_expiry", None))

    return load


def from_service_account(folder: Path, environment: Mapping[str, str], master: str) -> Load:
    """Read the service account of the pod that this program runs in."""

    def read() -> Loaded:
        configuration = Configuration()
        try:
            loader = _InClusterConfigLoader(
                str(folder / "token"), str(folder / "ca.crt"), try_refresh_token=False, environ=environment
            )
            loader.load_and_set(configuration)
        except Exception as error:
            raise Unusable(
                f"no kubeconfig was given, and the pod's service account in {folder} cannot be used: {error}"
            ) from error
        if master:
            configuration.host = master
        return Loaded(configuration)

    async def load() -> Loaded:
        return await asyncio.to_thread(read)

    return load


def anonymous(master: str) -> Load:
    """Ask a server without showing who asks."""

    async def load() -> Loaded:
        return Loaded(Configuration(host=master))

    return load


class Access:
    """The connections, and the credentials as they are now. Made by `open_access`."""

    def __init__(self, load: Load, first: Loaded, rest: Any, certificates: Mapping[str, bytes]) -> None:
        self._load = load
        self._now = first
        self.rest = rest
        self._certificates = certificates
        self._read_at = time.monotonic()
        self._refused = ""
        self._lock = asyncio.Lock()

    @property
    def host(self) -> str:
        """Start of every URL."""
        return str(self._now.configuration.host).rstrip("/")

    async def authorization(self) -> str:
        """Give the value of the header, read again when it is due; a failure to read keeps what there is."""
        if self._is_due():
            async with self._lock:
                if self._is_due():
                    await self._read_again()
        return self._now.authorization

    async def replacement(self, refused: str) -> bool:
        """After a 401 say whether there are other credentials than the refused ones by now."""
        self._refused = refused
        return await self.authorization() != refused

    async def close(self) -> None:
        """Close all connections."""
        await self.rest.close()

    def _is_due(self) -> bool:
        age_s = time.monotonic() - self._read_at
        if self._refused and self._refused == self._now.authorization:
            return age_s > _REFUSED_AGAIN_S
        expires = self._now.expires
        return age_s > _READ_AGAIN_S and (expires is None or expires - _EXPIRY_MARGIN < datetime.now(UTC))

    async def _read_again(self) -> None:
        self._read_at = time.monotonic()
        try:
            async with asyncio.timeout(_LOADING_S):
                fresh = await self._load()
                certificates = await asyncio.to_thread(_certificates, fresh.configuration)
            if certificates != self._certificates and certificates:
                await asyncio.to_thread(_load_certificates, self.rest.ssl_context, fresh.configuration)
                self._certificates = certificates
        except (Unusable, TimeoutError, OSError) as error:
            _log.warning("the credentials for the API server cannot be read again, the old ones stay: %s", error)
            return
        if fresh.authorization or not self._now.authorization:
            self._now = fresh


async def open_access(
    kubeconfig: Path | None,
    *,
    master: str,
    service_account: Path = SERVICE_ACCOUNT,
    environment: Mapping[str, str] | None = None,
) -> Access:
    """Read how to reach the API server: the kubeconfig, else `master` alone, else the pod's service account.

    Raises Unusable.
    """
    if kubeconfig is not None:
        load = from_kubeconfig(kubeconfig, master)
    elif master:
        load = anonymous(master)
    else:
        load = from_service_account(service_account, os.environ if environment is None else environment, master)
    try:
        async with asyncio.timeout(_LOADING_S):
            first = await load()
    except TimeoutError as error:
        raise Unusable(f"the credentials for the API server were not read within {_LOADING_S:.0f} s") from error
    configuration = first.configuration
    # Go's clients do not demand the key identifiers that Python 3.13 does, and authorities of older tools have none.
    configuration.disable_strict_ssl_verification = True
    # Proxies come from the kubeconfig alone: the environment's are meant for the platform's API, if for anything.
    configuration.client_session_kwargs = {"trust_env": False, "cookie_jar": aiohttp.DummyCookieJar()}
    try:
        certificates = await asyncio.to_thread(_certificates, configuration)
        rest = await asyncio.to_thread(RESTClientObject, configuration)
    except OSError as error:
        raise Unusable(f"the certificates for the API server cannot be used: {error}") from error
    return Access(load, first, rest, certificates)


def _certificates(configuration: Any) -> dict[str, bytes]:
    """Read the client's certificate and the authorities, to see when they change."""
    found: dict[str, bytes] = {}
    for path in (configuration.cert_file, configuration.ssl_ca_cert):
        if path:
            with contextlib.suppress(FileNotFoundError):
                found[path] = Path(path).read_bytes()
    return found


def _load_certificates(context: Any, configuration: Any) -> None:
    """Take over new certificates for the connections to come."""
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, keyfile=configuration.key_file)
    if configuration.ssl_ca_cert:
        context.load_verify_locations(cafile=configuration.ssl_ca_cert)
