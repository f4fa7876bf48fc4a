import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csi.endpoint import MAX_PATH_BYTES, EndpointBusyError, EndpointError, SocketFile, UnixEndpoint, parse_endpoint
from process.address import TcpEndpoint, parse_host_port


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("unix:///csi/csi.sock", UnixEndpoint(Path("/csi/csi.sock"))),
        ("unix:/csi/csi.sock", UnixEndpoint(Path("/csi/csi.sock"))),
        ("tcp://127.0.0.1:10000", TcpEndpoint("127.0.0.1", 10000)),
        ("tcp://localhost:0", TcpEndpoint("localhost", 0)),
        ("tcp://[::1]:65535", TcpEndpoint("::1", 65535)),
        # As a manifest writes a pod address of either family.
        ("tcp://[10.1.2.3]:9808", TcpEndpoint("10.1.2.3", 9808)),
    ],
)
def test_addresses_are_read_and_written(text: str, endpoint: UnixEndpoint | TcpEndpoint) -> None:
    assert parse_endpoint(text) == endpoint
    assert parse_endpoint(str(endpoint)) == endpoint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/csi/csi.sock",
        "unix",
        "unix:",
        "unix://csi.sock",
        "unix:///csi/",
        "unix:///a%20b",
        "unix:///a b",
        "unix:///a\0b",
        "unix:///" + "a" * MAX_PATH_BYTES,
        "tcp:127.0.0.1:1",
        "tcp://127.0.0.1",
        "tcp://:80",
        "tcp://::1:80",
        "tcp://[::1",
        "tcp://h:65536",
        "tcp://h:-1",
        "tcp://h:\u0663",
        "tcp://h:1/x",
        "tcp://u@h:1",
        "http://h:1",
    ],
)
def test_anything_else_is_refused_with_the_reason(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_endpoint(text)


@given(st.text())
def test_no_text_breaks_the_readers(text: str) -> None:
    for read in (parse_endpoint, parse_host_port):
        with contextlib.suppress(ValueError):
            read(text)


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
        made.bind(str(tmp_path / "csi.sock"))
        made.listen()
        yield made


def listen_on(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.bind(str(path))
    made.listen()
    return made


def test_the_socket_appears_only_when_something_listens_on_it(tmp_path: Path) -> None:
    file = SocketFile(tmp_path / "csi.sock", mode=0o660).claim()
    assert not file.path.exists()
    with listen_on(file.private_path):
        file.publish()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(file.path))
        assert stat.S_IMODE(file.path.stat().st_mode) == 0o660
        file.hide()
    assert not file.path.exists()
    file.release()


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "csi.sock"
    listen_on(path).close()
    assert path.exists()
    file = SocketFile(path).claim()
    with listen_on(file.private_path):
        file.publish()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(path))
        file.hide()
    file.release()


def test_a_socket_that_somebody_serves_is_left_alone(tmp_path: Path, listener: socket.socket) -> None:
    with pytest.raises(EndpointError, match="another process is serving"):
        SocketFile(tmp_path / "csi.sock").claim()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(str(tmp_path / "csi.sock"))


def test_a_server_with_a_full_queue_counts_as_serving(tmp_path: Path) -> None:
    path = tmp_path / "csi.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        server.listen(0)
        clients = []
        try:
            while True:
                client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                clients.append(client)
                client.setblocking(False)
                if client.connect_ex(str(path)):
                    break
            with pytest.raises(EndpointError, match="another process is serving"):
                SocketFile(path).claim()
        finally:
            for client in clients:
                client.close()


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_no_socket_is_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "csi.sock"
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EndpointError, match="is no socket"):
        SocketFile(path).claim()
    assert path.is_symlink() or path.exists()


def test_two_instances_that_start_together_do_not_both_get_it(tmp_path: Path) -> None:
    first = SocketFile(tmp_path / "csi.sock").claim()
    with pytest.raises(EndpointBusyError, match="another instance"):
        SocketFile(tmp_path / "csi.sock").claim()
    first.hide()
    with pytest.raises(EndpointBusyError, match="another instance"):
        SocketFile(tmp_path / "csi.sock").claim()
    first.release()
    SocketFile(tmp_path / "csi.sock").claim().release()


def test_an_instance_that_holds_the_lock_and_serves_is_told_from_one_that_ends(tmp_path: Path) -> None:
    file = SocketFile(tmp_path / "csi.sock").claim()
    with listen_on(file.private_path):
        file.publish()
        with pytest.raises(EndpointError, match="another process is serving") as caught:
            SocketFile(tmp_path / "csi.sock").claim()
        assert not isinstance(caught.value, EndpointBusyError)
        file.hide()
    file.release()


def test_a_place_that_is_kept_stays_closed_to_others_whatever_is_released(tmp_path: Path) -> None:
    file = SocketFile(tmp_path / "csi.sock").claim()
    fd = file._lock_fd
    file.keep()
    file.release()
    with pytest.raises(EndpointBusyError):
        SocketFile(tmp_path / "csi.sock").claim()
    os.close(fd)


def test_a_missing_or_odd_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(EndpointError, match="does not exist"):
        SocketFile(tmp_path / "none" / "csi.sock").claim()
    (tmp_path / "file").write_text("")
    with pytest.raises(EndpointError, match="cannot lock"):
        SocketFile(tmp_path / "file" / "csi.sock").claim()


def test_a_path_that_no_socket_can_have_is_told(tmp_path: Path) -> None:
    name = "s" * (MAX_PATH_BYTES - len(str(tmp_path)))
    with pytest.raises(EndpointError, match=f"too long; {MAX_PATH_BYTES} bytes"):
        SocketFile(tmp_path / name).claim()
    SocketFile(tmp_path / name[1:]).claim().release()
    assert [entry.name for entry in tmp_path.iterdir()] == [f".{name[1:]}.lock"]


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / ".csi.sock.lock").symlink_to(tmp_path / "target")
    with pytest.raises(EndpointError, match="cannot lock"):
        SocketFile(tmp_path / "csi.sock").claim()
    assert not (tmp_path / "target").exists()


def test_a_socket_that_another_put_in_our_place_stays(tmp_path: Path) -> None:
    file = SocketFile(tmp_path / "csi.sock").claim()
    with listen_on(file.private_path):
        file.publish()
        file.path.rename(tmp_path / "old.sock")
        with listen_on(file.path):
            file.hide()
            assert file.path.exists()
    file.release()


def test_the_end_after_a_failed_start_leaves_nothing(tmp_path: Path) -> None:
    file = SocketFile(tmp_path / "csi.sock").claim()
    with listen_on(file.private_path):
        file.hide()
    for _ in range(2):
        file.hide()
        file.release()
    assert [entry.name for entry in tmp_path.iterdir()] == [".csi.sock.lock"]


def test_publishing_what_was_never_bound_is_an_error(tmp_path: Path) -> None:
    file = SocketFile(tmp_path / "csi.sock").claim()
    with pytest.raises(EndpointError, match="cannot put the socket there"):
        file.publish()
    file.release()
