"""Health and metrics routes (platform contract 18); their bodies have no envelope."""

import sqlite3

from starlette.responses import Response

from devcloud.api.call import Call
from devcloud.api.envelope import plain, render
from devcloud.rows import now


async def live(call: Call, _: None) -> Response:
    """GET /health/live."""
    del call
    return render(200, {"status": "ok"})


async def ready(call: Call, _: None) -> Response:
    """GET /health and /health/ready: without a replica the strict tier always is DEGRADED."""
    checks = {
        "database_primary": await _check_database(call),
        "database_replica": "NOT_CONFIGURED",
        "docker": "CONNECTED",
        "kubernetes_service": "OK",
    }
    is_up = checks["database_primary"] == "CONNECTED" and not call.cloud.is_strict
    status = "UP" if is_up else "DEGRADED"
    return render(200 if is_up else 503, {"status": status, "checks": checks, "time": now()})


async def ovs(call: Call, _: None) -> Response:
    """GET /health/ovs: there is no network back end."""
    del call
    return render(200, {"status": "degraded"})


async def metrics(call: Call, _: None) -> Response:
    """GET /metrics."""
    rows = await call.cloud.store.read(
        lambda db: {
            "thecloud_instances_total": _count(db, "SELECT status, COUNT(*) FROM instances GROUP BY status"),
            "thecloud_volumes_total": _count(db, "SELECT status, COUNT(*) FROM volumes GROUP BY status"),
        }
    )
    lines = call.cloud.calls.render()
    for name, by_status in rows.items():
        lines.append(f"# TYPE {name} gauge")
        lines += [f'{name}{{status="{status}"}} {count}' for status, count in sorted(by_status.items())]
    return plain(200, "\n".join(lines) + "\n")


def _count(db: sqlite3.Connection, query: str) -> dict[str, int]:
    return {str(status): int(count) for status, count in db.execute(query)}


async def _check_database(call: Call) -> str:
    await call.cloud.store.read(lambda db: db.execute("SELECT 1").fetchone())
    return "CONNECTED"
