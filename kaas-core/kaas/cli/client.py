"""The service over HTTP. Every change carries a key, so that it may be sent again when its answer was lost."""

import asyncio
import json
import ssl
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, unquote

import httpx

from kaas.cli.errors import CliError, ExitCode, SilentServiceError, printable

_REQUEST_S = 60.0
_TRIES = 3
_PAUSE_S = 0.5
_PASSING = frozenset({502, 503, 504})
_CHANGES = frozenset({"POST", "PUT", "DELETE"})
_UNAUTHORIZED, _NOT_IMPLEMENTED, _NO_CONTENT = 401, 501, 204
_MAX_SHOWN = 300
_NEXT_MARKER = "X-Next-Marker"


@dataclass(frozen=True, slots=True)
class Answer:
    """A success."""

    data: Any
    headers: Mapping[str, str]

    @property
    def operation_id(self) -> str:
        """The operation that a change became; empty when it became none."""
        return self.headers.get("X-Operation-ID", "")


class Api:
    """The service. Use as an async context manager; all methods raise CliError."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        try:
            self._http = httpx.AsyncClient(
                base_url=url,
                headers={"X-API-Key": key, "Accept": "application/json"},
                timeout=_REQUEST_S,
                verify=_authorities(url),
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise CliError(f"--api-url or the API key cannot be used: {error}", exit_code=ExitCode.USAGE) from error

    async def get(self, path: str, **query: str | int | None) -> Answer:
        """Read."""
        return await self._ask("GET", path, query=query)

    async def all(self, path: str, **query: str | int | None) -> Answer:
        """Read a list, all of its pages."""
        entries: list[Any] = []
        marker = ""
        while True:
            answer = await self.get(path, marker=marker, **query)
            entries += answer.data or []
            marker = unquote(answer.headers.get(_NEXT_MARKER, ""))
            if not (marker and answer.data):
                return Answer(entries, answer.headers)

    async def change(
        self, method: str, path: str, body: Mapping[str, object] | None = None, **query: str | int | None
    ) -> Answer:
        """Change something, once."""
        return await self._ask(method, path, body=body, query=query)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, object] | None = None,
        query: Mapping[str, str | int | None],
    ) -> Answer:
        headers = {"Idempotency-Key": str(uuid.uuid4())} if method in _CHANGES else {}
        given = {name: str(value) for name, value in query.items() if value is not None and value != ""}
        for attempt in range(_TRIES):
            try:
                return await self._once(method, path, body, given, headers)
            except SilentServiceError:
                if attempt == _TRIES - 1:
                    raise
            await asyncio.sleep(_PAUSE_S * 2**attempt)
        raise AssertionError("unreachable")

    async def _once(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None,
        query: Mapping[str, str],
        headers: Mapping[str, str],
    ) -> Answer:
        try:
            async with asyncio.timeout(_REQUEST_S):
                answer = await self._http.request(method, path, json=body, params=query, headers=headers)
        except (httpx.TransportError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            raise SilentServiceError(
                f"no answer from {self._url}: {reason}; check --api-url (CLOUD_API_URL), and that the service runs"
            ) from error
        except (httpx.InvalidURL, httpx.HTTPError) as error:
            raise CliError(f"{self._url} cannot be used as --api-url: {error}", exit_code=ExitCode.USAGE) from error
        return self._read(answer)

    def _read(self, answer: httpx.Response) -> Answer:
        if answer.status_code == _NO_CONTENT:
            return Answer(None, answer.headers)
        try:
            whole = answer.json()
        except ValueError:
            whole = None
        if not answer.is_success:
            raise self._refused(answer, whole)
        if not isinstance(whole, dict):
            raise CliError(f"{self._url} answered something else than JSON; is it the address of the service?")
        return Answer(whole.get("data"), answer.headers)

    def _refused(self, answer: httpx.Response, whole: Any) -> CliError:
        error = whole.get("error") if isinstance(whole, dict) else None
        status = answer.status_code
        if not isinstance(error, dict):
            text = printable(error if isinstance(error, str) else answer.text.strip())[:_MAX_SHOWN]
            kind = SilentServiceError if status in _PASSING else CliError
            return kind(f"{self._url} answered {status} ({text}); check --api-url (CLOUD_API_URL)")
        message = printable(str(error.get("message", "")))
        problems = [entry for entry in error.get("problems") or () if isinstance(entry, dict)]
        details = tuple(printable(f"{entry.get('field')}: {entry.get('message')}") for entry in problems)
        code = str(error.get("code", ""))
        if status in _PASSING:
            return SilentServiceError(message, code=code)
        if status == _UNAUTHORIZED:
            message += "; set CLOUD_API_KEY, give -k/--api-key, or write the key to the configuration file"
        return CliError(
            message,
            exit_code=ExitCode.NOT_OFFERED if status == _NOT_IMPLEMENTED else ExitCode.ERROR,
            # One problem is in the message already.
            details=details if len(details) > 1 else (),
            code=code,
        )


def _authorities(url: str) -> ssl.SSLContext:
    """Give who is believed: the system's authorities, and nobody where no certificate will be shown.

    Reading the authorities takes longer than most requests.
    """
    if url.lower().startswith("https:"):
        return ssl.create_default_context()
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def cluster_path(ref: str, *more: str) -> str:
    """Give the path of a cluster, by id or name, or of something in it."""
    if not ref or ref in {".", ".."}:
        raise CliError(f"{ref!r} is neither an id nor a name of a cluster", exit_code=ExitCode.USAGE)
    return "/".join(("/clusters", quote(ref, safe=""), *(quote(part, safe="") for part in more)))


def pretty(data: Any) -> str:
    """Write a payload as JSON for people."""
    return _shown(json.dumps(data, indent=2, ensure_ascii=False))


def compact(data: Any) -> str:
    """Write a payload as one line of JSON."""
    return _shown(json.dumps(data, ensure_ascii=False, separators=(",", ":")))


def _shown(text: str) -> str:
    """Write what a terminal might obey as JSON's escapes, so that the value stays what it is."""
    return "".join(one if one.isprintable() or one == "\n" else json.dumps(one)[1:-1] for one in text)
