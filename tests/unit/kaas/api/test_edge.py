"""What holds for every request: its id, its envelope, its log line, its figures, and no answer without either."""

import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from kaas.api.app import create_app
from kaas.api.envelope import SHAPES
from kaas.db.requests import RequestStore
from kaas.domain.errors import Code, KaasError, StepError, StoreUnavailableError
from kaas.domain.requests import Rules
from tests.unit.kaas.api.rig import CATALOGUE, DEFAULTS, Rig, serving


class Broken:
    """`Requests` and `Authenticator` that fail as they are told."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def authenticate(self, key: str, *, tenant_id: str) -> Any:
        raise self.error


def broken(error: Exception) -> httpx.AsyncClient:
    nothing: Any = None
    app = create_app(requests=nothing, authenticator=Broken(error), access=nothing, rules=Rules(CATALOGUE, DEFAULTS))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://kaas", headers={"X-API-Key": "k"})


async def test_the_id_of_a_request_goes_all_the_way(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "kaas.api"):
        answer = await rig.ask("POST", "/clusters", {"name": "dev"}, headers={"X-Request-ID": "req-7"})
    assert answer.headers["X-Request-ID"] == "req-7"
    assert answer.json()["meta"]["request_id"] == "req-7"
    operation = (await rig.snapshot("dev")).operation
    assert operation is not None
    assert operation.request_id == "req-7"
    [line] = [record for record in caplog.records if record.getMessage() == "request served"]
    assert line.__dict__["fields"]["route"] == "/clusters"
    assert (line.__dict__["fields"]["status"], line.__dict__["fields"]["tenant"]) == (202, "blue")


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, 'a"b', "a;b", "{}"])
async def test_an_id_that_could_not_stand_in_a_log_is_replaced(rig: Rig, given: str) -> None:
    answer = await rig.ask("GET", "/clusters", headers={"X-Request-ID": given})
    assert answer.headers["X-Request-ID"] not in {"", given}
    assert answer.json()["meta"]["request_id"] == answer.headers["X-Request-ID"]


@pytest.mark.parametrize(
    "error", [RuntimeError("secret detail"), KaasError(Code.BUG, "secret detail"), StepError(Code.BUG, "secret detail")]
)
async def test_a_fault_of_ours_tells_nothing_but_its_id(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    async with broken(error) as http:
        answer = await http.get("/clusters")
    assert answer.status_code == 500
    assert answer.json()["error"] == {
        "type": "INTERNAL",
        "message": "An unexpected error occurred",
        "code": "INTERNAL",
    }
    assert answer.json()["meta"]["request_id"] == answer.headers["X-Request-ID"]
    assert "secret detail" in caplog.text


async def test_a_database_that_is_away_is_503(caplog: pytest.LogCaptureFixture) -> None:
    async with broken(StoreUnavailableError("password=hunter2")) as http:
        answer = await http.get("/clusters")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "PLATFORM_UNAVAILABLE")
    assert answer.headers["Retry-After"]
    assert "hunter2" not in answer.text


async def test_paths_and_methods_that_are_none_answer_as_the_platform_does(rig: Rig) -> None:
    for method, path in (("GET", "/"), ("GET", "/api/v1/clusters"), ("PATCH", "/clusters"), ("GET", "/docs")):
        answer = await rig.ask(method, path)
        assert (answer.status_code, answer.text) == (404, "404 page not found")
        assert answer.headers["Content-Type"].startswith("text/plain")


async def test_metrics_name_templates_and_never_ids(tmp_path: Path, empty: Path) -> None:
    async with serving(tmp_path, empty) as rig:
        made = await rig.create("dev")
        await rig.ask("GET", f"/clusters/{made['id']}")
        await rig.ask("GET", "/nope/secret-name")
        text = (await rig.http.get("/metrics")).text
    assert 'kaas_api_requests_total{method="GET",route="/clusters/{ref}",status="200"} 1.0' in text
    assert 'route="(none)",status="404"' in text
    assert made["id"] not in text
    assert "secret-name" not in text


async def test_readiness_says_what_is_missing(rig: Rig) -> None:
    async def not_yet() -> str:
        return "the tables are old"

    assert (await rig.http.get("/health/ready")).text == "ok\n"
    nothing: Any = None
    rules = Rules(CATALOGUE, DEFAULTS)
    app = create_app(requests=nothing, authenticator=nothing, access=nothing, rules=rules, ready=not_yet)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://kaas") as http:
        answer = await http.get("/health/ready")
        assert (answer.status_code, answer.text) == (503, "the tables are old\n")
        assert (await http.get("/health/live")).status_code == 200


async def test_every_change_is_audited_refused_or_not(rig: Rig) -> None:
    await rig.ask("POST", "/clusters", {"name": "dev"})
    await rig.ask("POST", "/clusters", {"name": "dev"})
    await rig.ask("POST", "/clusters", {"name": "X"})
    await rig.ask("POST", "/clusters", {"name": "a", "size": 1})
    await rig.ask("POST", "/clusters", {"name": "a"}, role="reader")
    await rig.ask("PUT", "/clusters/dev/scale", {"workers": 3}, role="member")
    await rig.ask("DELETE", "/clusters/nope/nodegroups/gpu")
    await rig.ask("DELETE", "/clusters/dev")
    await rig.ask("GET", "/clusters/dev")
    assert await rig.audited() == [
        ("ada", "create_cluster", "dev", "accepted"),
        ("ada", "create_cluster", "dev", "refused: NAME_TAKEN"),
        ("ada", "create_cluster", "X", "refused: INVALID"),
        ("ada", "create_cluster", "", "refused: INVALID"),
        ("rita", "create_cluster", "", "refused: FORBIDDEN"),
        ("max", "scale_cluster", "dev", "refused: WRONG_STATE"),
        ("ada", "delete_node_group", "nope/gpu", "refused: NOT_FOUND"),
        ("ada", "delete_cluster", "dev", "accepted"),
    ]


def test_every_code_that_a_request_is_refused_with_has_a_shape() -> None:
    of_requests = list(Code)[: list(Code).index(Code.NOT_OFFERED) + 1]
    assert set(of_requests) <= set(SHAPES)
    assert all(400 <= shape.status < 600 for shape in SHAPES.values())


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "upgrade", {"version": "v1.30.2"}),
        ("POST", "rotate-secrets", None),
        ("POST", "backups", None),
        ("POST", "restore", {"backup_path": "k8s-backups/x"}),
        ("PUT", "backup-policy", {"schedule": "@daily"}),
    ],
)
async def test_what_comes_next_says_so(rig: Rig, method: str, path: str, body: Any) -> None:
    await rig.running("dev")
    answer = await rig.ask(method, f"/clusters/dev/{path}", body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (501, "NOT_OFFERED")
    assert "come next" in answer.json()["error"]["message"]


async def test_no_change_is_without_its_audit(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def dies(*_: object) -> None:
        raise AssertionError("the process ended after the commit")

    monkeypatch.setattr(RequestStore, "audit", dies)
    made = await rig.create("dev")
    assert (await rig.ask("POST", f"/operations/{made['job_id']}/cancel")).status_code == 202
    assert (await rig.ask("DELETE", "/clusters/dev")).status_code == 202
    assert await rig.audited() == [
        ("ada", "create_cluster", "dev", "accepted"),
        ("ada", "cancel_operation", made["job_id"], "accepted"),
        ("ada", "delete_cluster", "dev", "accepted"),
    ]
