"""The way to the Kubernetes API, with the pod's own service account: requests, their time limits, and what failed.

Answers are bounded in size and time. Not here: what the objects mean (the modules beside this one).
"""

import asyncio
import http.client
import json
import ssl
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

from csi.errors import CsiError, ErrorKind

ACCOUNT_DIR = Path("/var/run/secrets/kubernetes.io/serviceaccount")
MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""Of one object, or one page of a listing."""
PAGE_OBJECTS = 250
MAX_RESTARTS = 3
"""How often a listing is begun again because the cluster no longer keeps the state that its pages are of."""
_CHUNK_BYTES = 64 * 1024
_LEAST_LIMIT_S = 0.05
_REFUSED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_CHANGED = frozenset({HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY})

Json = dict[str, Any]
Item = TypeVar("Item")
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Subject:
    """What is asked for, for the API and for the person who reads the error."""

    path: str
    """Quoted, without a query."""
    name: str
    """Such as `node 'worker-1'`."""
    needs: str
    """What the role of the service account has to allow, such as "`get` on nodes"."""


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    body: bytes

    def object(self) -> Json | None:
        """Give the JSON object of a success; None for anything else."""
        if self.status != HTTPStatus.OK:
            return None
        try:
            found = json.loads(self.body)
        except ValueError:
            return None
        return found if isinstance(found, dict) else None


class KubeApi:
    """The API of the cluster that this pod runs in.

    Every method raises CsiError: PRECONDITION when the service account may not, UNKNOWN_OUTCOME when the API cannot be
    reached or does not make sense, TIMEOUT at the deadline.
    """

    def __init__(self, *, host: str, port: int, account_dir: Path = ACCOUNT_DIR) -> None:
        """`host` and `port` of the API as the pod's environment gives them; `account_dir` holds token and ca.crt."""
        self._host = host
        self._port = port
        self._account_dir = account_dir

    async def get(self, subject: Subject, *, deadline: float) -> Json | None:
        """Read one object; None when the cluster has none."""

        def ask(session: _Session) -> _Reply:
            return session.exchange("GET", subject.path)

        reply = await self._ask(subject, ask, deadline=deadline)
        if reply.status == HTTPStatus.NOT_FOUND:
            return None
        return _checked(subject, reply)

    async def patch(self, subject: Subject, operations: Sequence[Json], *, deadline: float) -> bool | None:
        """Apply a JSON patch (RFC 6902) as a whole.

        Gives False, and changes nothing, when one of its tests fails; None when the cluster has no such object.
        """
        body = json.dumps(operations).encode()

        def ask(session: _Session) -> _Reply:
            return session.exchange("PATCH", subject.path, body, "application/json-patch+json")

        reply = await self._ask(subject, ask, deadline=deadline)
        if reply.status == HTTPStatus.NOT_FOUND:
            return None
        if reply.status in _CHANGED:
            return False
        _checked(subject, reply)
        return True

    async def collect(
        self, subject: Subject, keep: Callable[[Json], Item | None], *, deadline: float
    ) -> tuple[Item, ...]:
        """List a collection page by page and give what `keep` makes of its objects, None left out.

        No more than one page is in memory at a time. `keep` runs in a thread and must not wait.
        """

        def ask(session: _Session) -> tuple[Item, ...] | _Reply:
            for _ in range(MAX_RESTARTS):
                found = _collect(session, subject.path, keep)
                if not isinstance(found, _Reply) or found.status != HTTPStatus.GONE:
                    return found
            return found

        found = await self._ask(subject, ask, deadline=deadline)
        if isinstance(found, _Reply):
            raise _strange(subject, found)
        return found

    async def _ask(self, subject: Subject, ask: "Callable[[_Session], Found]", *, deadline: float) -> Found:
        limit_s = max(deadline - asyncio.get_running_loop().time(), _LEAST_LIMIT_S)
        try:
            async with asyncio.timeout_at(deadline):
                found = await asyncio.to_thread(self._in_session, ask, limit_s)
        except TimeoutError:
            raise CsiError(ErrorKind.TIMEOUT, f"the Kubernetes API did not answer for {subject.name} in time") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise CsiError(
                ErrorKind.UNKNOWN_OUTCOME,
                f"the Kubernetes API at {self._host}:{self._port} cannot be asked for {subject.name}: {error}",
            ) from error
        if isinstance(found, _Reply) and found.status in _REFUSED:
            raise _refused(subject, found.status)
        return found

    def _in_session(self, ask: "Callable[[_Session], Found]", limit_s: float) -> Found:
        with _session(self._host, self._port, self._account_dir, time.monotonic() + limit_s) as session:
            return ask(session)


class _Session:
    """One connection, used by one thread until a time of the monotonic clock."""

    def __init__(self, connection: http.client.HTTPSConnection, headers: Mapping[str, str], until: float) -> None:
        self._connection = connection
        self._headers = headers
        self._until = until

    def exchange(self, method: str, path: str, body: bytes | None = None, content_type: str = "") -> _Reply:
        """Send one request and read its answer; raises OSError, HTTPException, or ValueError when it is too large."""
        headers = {**self._headers, "Content-Type": content_type} if content_type else self._headers
        self._connection.timeout = self._left_s()
        self._connection.request(method, path, body=body, headers=headers)
        socket = self._connection.sock
        socket.settimeout(self._left_s())
        answer = self._connection.getresponse()
        content = bytearray()
        # Piece by piece: the limit of a socket is for one read of it, and a server that drips would never reach it.
        while chunk := answer.read1(_CHUNK_BYTES):
            content += chunk
            if len(content) > MAX_ANSWER_BYTES:
                raise ValueError(f"its answer has more than {MAX_ANSWER_BYTES} bytes")
            socket.settimeout(self._left_s())
        answer.close()  # only then is the connection free for the next request
        return _Reply(answer.status, bytes(content))

    def _left_s(self) -> float:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


@contextmanager
def _session(host: str, port: int, account_dir: Path, until: float) -> Iterator[_Session]:
    # Both files are read at every call: the kubelet renews the token, and a CA may be replaced.
    token = (account_dir / "token").read_text().strip()
    context = ssl.create_default_context(cafile=str(account_dir / "ca.crt"))
    # From Python 3.13 on, certificates of authorities that were made by older tools, and that every other client of
    # the cluster takes, would be refused for extensions that they lack.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    connection = http.client.HTTPSConnection(host, port, context=context)
    try:
        yield _Session(connection, {"Authorization": f"Bearer {token}", "Accept": "application/json"}, until)
    finally:
        connection.close()


def _collect(session: _Session, path: str, keep: Callable[[Json], Item | None]) -> tuple[Item, ...] | _Reply:
    kept: list[Item] = []
    query = {"limit": str(PAGE_OBJECTS)}
    while True:
        reply = session.exchange("GET", f"{path}?{urllib.parse.urlencode(query)}")
        page = reply.object()
        items = page.get("items") if page is not None else None
        if page is None or not isinstance(items, list):
            return reply
        kept += [found for item in items if isinstance(item, dict) and (found := keep(item)) is not None]
        token = text(page, "metadata", "continue")
        if not token:
            return tuple(kept)
        query["continue"] = token


def _checked(subject: Subject, reply: _Reply) -> Json:
    found = reply.object()
    if found is None:
        raise _strange(subject, reply)
    return found


def _refused(subject: Subject, status: int) -> CsiError:
    if status == HTTPStatus.UNAUTHORIZED:
        text = f"the Kubernetes API does not accept this pod's token ({status}), asked for {subject.name}"
    else:
        text = (
            f"the Kubernetes API refuses {subject.name} to this pod's service account ({status}); its role needs "
            f"{subject.needs}"
        )
    return CsiError(ErrorKind.PRECONDITION, text)


def _strange(subject: Subject, reply: _Reply) -> CsiError:
    return CsiError(
        ErrorKind.UNKNOWN_OUTCOME,
        f"the Kubernetes API answered {reply.status} for {subject.name}, and not with what was asked for",
    )


def in_cluster(environment: Mapping[str, str], *, account_dir: Path = ACCOUNT_DIR) -> KubeApi | None:
    """Give the API of the cluster whose pod this process is in; None when it is in none."""
    host, port = environment.get("KUBERNETES_SERVICE_HOST", ""), environment.get("KUBERNETES_SERVICE_PORT", "")
    if not host or not port.isdecimal() or not (account_dir / "token").exists():
        return None
    return KubeApi(host=host, port=int(port), account_dir=account_dir)


def quoted(name: str) -> str:
    """Give an object's name as one step of a path."""
    return urllib.parse.quote(name, safe="")


def text(value: Any, *keys: str) -> str:
    """Give the text at the end of a chain of keys; empty when there is none."""
    found = at(value, *keys)
    return found if isinstance(found, str) else ""


def at(value: Any, *keys: str) -> Any:
    """Give what stands at the end of a chain of keys; None when the chain ends before."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value
