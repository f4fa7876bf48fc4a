"""What the program says when nobody answers, or something else does; and where its options may stand."""

import ast
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import kaas.cli
from kaas.cli.app import to_front
from kaas.cli.output import age, duration
from tests.unit.kaas.cli.rig import Service, run

Handler = Callable[[http.server.BaseHTTPRequestHandler], None]


@contextmanager
def answering(handle: Handler) -> Iterator[str]:
    """Serve on a port of this machine, in a way that no service of ours does."""

    class Answering(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            handle(self)

        do_POST = do_GET  # noqa: N815 - the library's name

        def log_message(self, *_: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def text(status: int, body: str) -> Handler:
    def handle(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(body.encode())))
        request.end_headers()
        request.wfile.write(body.encode())

    return handle


def ask(url: str, *words: str) -> tuple[int, str]:
    done = run("k8s", *(words or ["list"]), CLOUD_API_URL=url, CLOUD_API_KEY="k", CLOUD_CONFIG=None)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.exit_code, done.stderr


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kaas.cli.client._PAUSE_S", 0.001)


def test_nobody_answers() -> None:
    code, told = ask("http://127.0.0.1:1")
    assert code == 1
    assert "no answer from http://127.0.0.1:1" in told
    assert "--api-url" in told


@pytest.mark.parametrize("url", ["nonsense", "ftp://x", "http://", "http://[", "http://a b"])
def test_an_address_that_is_none(url: str) -> None:
    code, told = ask(url)
    assert code in {1, 2}
    assert "--api-url" in told


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (404, "404 page not found", "answered 404 (404 page not found)"),
        (200, "<html>hello</html>", "something else than JSON"),
        (200, "[]", "something else than JSON"),
        (200, '{"data": [{"id": 1}]}', "cannot be read"),
        (429, '{"error": "rate limit exceeded"}', "rate limit exceeded"),
        (500, "", "answered 500"),
        (302, "", "answered 302"),
        (400, '{"error": {"message": "no\\u001b[31m"}}', "no\ufffd[31m"),
        (401, '{"error": {"message": "invalid API key"}}', "set CLOUD_API_KEY"),
        (503, '{"error": {"message": "try again"}}', "try again"),
        (502, "<html>bad gateway</html>", "answered 502"),
    ],
)
def test_somebody_else_answers(status: int, body: str, words: str) -> None:
    with answering(text(status, body)) as url:
        code, told = ask(url)
    assert code == 1
    assert words in told


def test_a_change_whose_answer_was_lost_is_sent_again_under_the_same_key() -> None:
    keys: list[str | None] = []

    def handle(request: http.server.BaseHTTPRequestHandler) -> None:
        keys.append(request.headers.get("Idempotency-Key"))
        if len(keys) < 3:
            text(503, "")(request)
        else:
            text(400, '{"error": {"message": "enough"}}')(request)

    with answering(handle) as url:
        code, told = ask(url, "create", "-n", "dev")
    assert (code, "enough" in told) == (1, True)
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert keys[0]


def test_watching_outlasts_a_service_that_is_silent_for_a_while() -> None:
    identity = "0b3d8a3c-1111-4222-8333-944445555666"
    asked: list[str] = []

    def handle(request: http.server.BaseHTTPRequestHandler) -> None:
        asked.append(request.path)
        if 2 < len(asked) < 10:
            return text(503, "")(request)
        state = "running" if len(asked) <= 2 else "succeeded"
        whole = {"id": identity, "cluster_id": "c", "kind": "scale", "state": state}
        return text(200, json.dumps({"data": {**whole, "created_at": "2026-01-01T00:00:00Z"}}))(request)

    with answering(handle) as url:
        done = run(
            *("--poll-seconds", "0.01", "k8s", "operations", identity, "--wait"), CLOUD_API_URL=url, CLOUD_API_KEY="k"
        )
    assert done.exit_code == 0, done.output
    assert done.stderr.count("trying again") == 1
    assert "succeeded" in done.stderr


def test_options_of_the_program_stand_anywhere(service: Service) -> None:
    for words in (
        ["--api-url", service.url, "-k", "key-of-ada", "-o", "json", "k8s", "list"],
        ["k8s", "list", "--api-url", service.url, "--api-key", "key-of-ada", "--output", "json"],
        ["k8s", "-okjson"[:2] + "json", "list", f"--api-url={service.url}", "-kkey-of-ada"],
    ):
        done = run(*words, CLOUD_API_URL=None, CLOUD_API_KEY=None)
        assert (done.exit_code, done.stdout) == (0, "[]\n"), done.output


def test_what_stands_behind_two_dashes_is_left_alone() -> None:
    assert to_front(["k8s", "list", "--", "-k", "x"]) == ["k8s", "list", "--", "-k", "x"]
    assert to_front(["a", "-k", "x", "b", "-o", "y"]) == ["-k", "x", "-o", "y", "a", "b"]
    assert to_front(["a", "-k"]) == ["-k", "a"]


@pytest.mark.parametrize(
    "words", [[], ["k8s"], ["k8s", "nope"], ["k8s", "create"], ["k8s", "show"], ["k8s", "list", "x"]]
)
def test_usage(words: list[str]) -> None:
    done = run(*words, CLOUD_API_KEY="k")
    assert done.exit_code == 2
    assert "Usage" in done.output


@pytest.mark.parametrize("alias", ["k8s", "kubernetes", "cluster"])
def test_help_names_every_command(alias: str) -> None:
    text = run(alias, "--help").stdout
    for command in (
        *("create", "list", "show", "kubeconfig", "scale", "health", "repair", "rm", "operations", "events", "ssh-key"),
        *("nodegroup", "upgrade", "backup", "restore", "rotate-secrets"),
    ):
        assert f"  {command} " in text


def test_the_program_knows_nothing_of_the_service_but_its_answers() -> None:
    seen = set()
    for path in Path(kaas.cli.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                seen |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                seen.add(node.module or "")
    ours = {name for name in seen if name.split(".")[0] in {"kaas", "process", "thecloud", "devcloud", "csi", "ccm"}}
    assert ours
    assert all(name.startswith(("kaas.cli", "process")) for name in ours)


def test_completion_is_offered() -> None:
    done = run(_CLOUD_COMPLETE="complete_bash", COMP_WORDS="cloud k8s sc", COMP_CWORD="2")
    assert "scale" in done.stdout


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0s"), (59.4, "59s"), (80, "1m20s"), (3600, "1h"), (3601, "1h"), (90061, "1d1h"), (-5, "0s")],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words
    assert age(None) == ""
