"""Private database servers from Debian's packages: a temporary folder, a unix socket, no port, gone with the test run.

Neither of them runs as root; then they get a user who may nothing. Nothing is synced to disk: what they hold is thrown
away.
"""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.support.tools import ensure_programs

POSTGRESQL_VERSION = "15"
_POSTGRESQL_BIN = Path(f"/usr/lib/postgresql/{POSTGRESQL_VERSION}/bin")
POSTGRESQL_PROGRAMS = {str(_POSTGRESQL_BIN / "postgres"): f"postgresql-{POSTGRESQL_VERSION}"}
MARIADB_PROGRAMS = {"mariadbd": "mariadb-server-core", "my_print_defaults": "mariadb-client-core"}
_PREPARE_S = 60.0
_START_S = 45.0
_STOP_S = 20.0
_USUAL: Mapping[str, str] = {"fsync": "off", "max_connections": "100", "deadlock_timeout": "100ms"}


@contextlib.contextmanager
def postgresql(settings: Mapping[str, str] = _USUAL) -> Iterator[str]:
    """Run PostgreSQL; gives the URL of an empty database. Raises MissingToolError."""
    ensure_programs("the tests on PostgreSQL", POSTGRESQL_PROGRAMS)
    with _folder("postgres") as (folder, runner):
        data = folder / "data"
        initdb = ["initdb", "-D", str(data), "-U", "kaas", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"]
        _check([*runner, str(_POSTGRESQL_BIN / initdb[0]), *initdb[1:], "--no-sync", "--no-instructions"])
        where = {"listen_addresses": "", "unix_socket_directories": str(folder)}
        options = [word for name, value in {**where, **settings}.items() for word in ("-c", f"{name}={value}")]
        argv = [*runner, str(_POSTGRESQL_BIN / "postgres"), "-D", str(data), *options]
        # A smart end would wait for clients; this one tells them.
        with _server(argv, ready="database system is ready to accept connections", stop=signal.SIGINT):
            yield f"postgresql+psycopg://kaas@/postgres?host={folder}"


@contextlib.contextmanager
def mariadb() -> Iterator[str]:
    """Run MariaDB; gives the URL of an empty database. Raises MissingToolError."""
    ensure_programs("the tests on MariaDB", MARIADB_PROGRAMS)
    with _folder("nobody") as (folder, runner):
        data, socket, first = folder / "data", folder / "socket", folder / "first.sql"
        first.write_text("CREATE USER kaas@localhost;\nGRANT ALL ON *.* TO kaas@localhost;\nCREATE DATABASE kaas;\n")
        first.chmod(0o644)
        where = ["--no-defaults", f"--datadir={data}"]
        install = ["mariadb-install-db", *where, "--auth-root-authentication-method=normal", "--skip-test-db"]
        _check([*runner, *install])
        settings = [
            f"--socket={socket}",
            f"--pid-file={folder / 'pid'}",
            f"--init-file={first}",
            "--skip-networking",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-use-native-aio=0",
            "--innodb-buffer-pool-size=64M",
            "--innodb-log-file-size=16M",
        ]
        with _server([*runner, "mariadbd", *where, *settings], ready="ready for connections", stop=signal.SIGTERM):
            yield f"mysql+aiomysql://kaas@localhost/kaas?unix_socket={socket}"


@contextlib.contextmanager
def _folder(user: str) -> Iterator[tuple[Path, Sequence[str]]]:
    # Not below pytest's own folder: others may not enter that, and the path of a socket has to be short.
    folder = Path(tempfile.mkdtemp(prefix="kaas-db-"))
    try:
        yield folder, _as_other(user, folder)
    finally:
        shutil.rmtree(folder)


def _as_other(user: str, folder: Path) -> Sequence[str]:
    # If this process is killed, the server ends too.
    runner = ["setpriv", "--pdeathsig", "INT"]
    if os.geteuid() == 0:
        entry = pwd.getpwnam(user)
        os.chown(folder, entry.pw_uid, entry.pw_gid)
        runner += [f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]
    return [*runner, "--"]


def _check(argv: Sequence[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=_PREPARE_S, check=False, cwd="/")
    assert done.returncode == 0, f"{argv}: {done.stderr or done.stdout}"


@contextlib.contextmanager
def _server(argv: Sequence[str], *, ready: str, stop: signal.Signals) -> Iterator[None]:
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/"
    ) as run:
        lines: deque[str] = deque(maxlen=50)
        seen = threading.Event()

        def read() -> None:
            assert run.stdout is not None
            for line in run.stdout:
                lines.append(line.decode(errors="replace"))
                if ready in lines[-1]:
                    seen.set()
            # It has ended, which the one who waits for it sees below.
            seen.set()

        reader = threading.Thread(target=read, name=f"log of {argv[-1]}")
        reader.start()
        try:
            assert seen.wait(_START_S), f"not ready within {_START_S:g} s: {''.join(lines)}"
            assert any(ready in line for line in lines), f"it ended: {''.join(lines)}"
            yield
        finally:
            run.send_signal(stop)
            try:
                run.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                run.kill()
            reader.join()
