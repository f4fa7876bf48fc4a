from sqlalchemy import update

from kaas.db import tables
from kaas.domain.errors import Code
from kaas.domain.model import Event
from kaas.domain.states import OperationState, StepState
from tests.unit.kaas.api.rig import GREEN, Rig


async def test_an_operation_with_its_steps(rig: Rig) -> None:
    made = await rig.create("dev")
    conducting = rig.store.conducting
    async with rig.lease(made["id"]) as lease:
        step = await conducting.begin_step(lease, made["job_id"], "preflight", "1")
        await conducting.end_step(lease, step, StepState.DONE, result={"secret": "of-a-step"})
        step = await conducting.begin_step(lease, made["job_id"], "machine/dev-default-pool-0", "1")
        await conducting.end_step(
            lease,
            step,
            StepState.WAITING,
            error_code=Code.PLATFORM_QUOTA.value,
            error="the platform's quota is used up",
            retry_in_s=30,
        )
    answer = await rig.ask("GET", f"/operations/{made['job_id']}")
    seen = answer.json()["data"]
    assert (seen["kind"], seen["state"], seen["cluster_id"]) == ("create", "pending", made["id"])
    first, second = seen["steps"]
    assert (first["key"], first["state"]) == ("preflight", "done")
    assert (second["state"], second["error_code"], second["attempt"]) == ("waiting", "PLATFORM_QUOTA", 1)
    assert "next_try_at" in second
    assert "of-a-step" not in answer.text
    assert 0 <= seen["progress_percent"] < 100
    assert "eta_s" not in seen


async def test_earlier_operations_tell_how_long_it_takes(rig: Rig) -> None:
    first = await rig.create("one")
    await rig.conduct(first["id"], steps=("preflight", "machine/a", "ready"))
    made = await rig.create("two")
    async with rig.lease(made["id"]) as lease:
        step = await rig.store.conducting.begin_step(lease, made["job_id"], "machine/b", "1")
        await rig.store.conducting.end_step(lease, step, StepState.DONE)
    seen = (await rig.ask("GET", f"/operations/{made['job_id']}")).json()["data"]
    assert 0 < seen["progress_percent"] < 100
    assert seen["eta_s"] >= 0
    await rig.conduct(made["id"])
    seen = (await rig.ask("GET", f"/operations/{made['job_id']}")).json()["data"]
    assert (seen["state"], seen["progress_percent"]) == ("succeeded", 100)
    assert "eta_s" not in seen


async def test_listing(rig: Rig) -> None:
    one, two = await rig.running("one"), await rig.create("two")
    await rig.ask("PUT", "/clusters/one/scale", {"workers": 3})
    seen = (await rig.ask("GET", "/operations")).json()["data"]
    assert [(operation["kind"], operation["cluster_id"]) for operation in seen] == [
        ("scale", one["id"]),
        ("create", two["id"]),
        ("create", one["id"]),
    ]
    assert "steps" not in seen[0]
    for ref in ("one", one["id"]):
        assert len((await rig.ask("GET", f"/operations?cluster={ref}")).json()["data"]) == 2
    assert (await rig.ask("GET", "/operations?cluster=nope")).status_code == 404


async def test_a_cancel_asks_once_and_an_ended_operation_refuses(rig: Rig) -> None:
    made = await rig.create("dev")
    path = f"/operations/{made['job_id']}/cancel"
    plan = await rig.ask("POST", f"{path}?dry_run=plan")
    assert "ends at its next step" in plan.json()["data"]["warnings"][0]
    assert not (await rig.ask("GET", f"/operations/{made['job_id']}")).json()["data"]["cancel_requested"]
    for _ in range(2):
        answer = await rig.ask("POST", path)
        assert (answer.status_code, answer.json()["data"]["cancel_requested"]) == (202, True)
    await rig.conduct(made["id"], state=OperationState.CANCELLED)
    for query in ("", "?dry_run=plan"):
        answer = await rig.ask("POST", f"{path}{query}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "WRONG_STATE")


async def test_events_are_read_in_pages(rig: Rig) -> None:
    made = await rig.create("dev")
    async with rig.lease(made["id"]) as lease:
        for number in range(5):
            await rig.store.conducting.add_event(lease, Event(made["id"], f"E{number}", "it happened", "warning"))
    seen = (await rig.ask("GET", "/clusters/dev/events")).json()["data"]
    assert [event["code"] for event in seen] == ["CREATE_REQUESTED", "E0", "E1", "E2", "E3", "E4"]
    assert seen[0]["actor"] == "ada"
    assert seen[0]["operation_id"] == made["job_id"]
    pages = []
    after = ""
    while page := (await rig.ask("GET", f"/events?limit=4&after={after}")).json()["data"]:
        pages.append([event["code"] for event in page])
        after = page[-1]["id"]
    assert pages == [["CREATE_REQUESTED", "E0", "E1", "E2"], ["E3", "E4"]]
    assert (await rig.ask("GET", "/events", tenant=GREEN)).json()["data"] == []


async def test_what_happened_stays_when_the_cluster_is_gone(rig: Rig) -> None:
    made = await rig.running("dev")
    await rig.ask("DELETE", "/clusters/dev")
    await rig.conduct(made["id"])
    assert (await rig.ask("GET", f"/operations?cluster={made['id']}")).json()["data"][0]["kind"] == "delete"
    events = (await rig.ask("GET", f"/clusters/{made['id']}/events")).json()["data"]
    assert "DELETE_REQUESTED" in {event["code"] for event in events}
    assert (await rig.ask("GET", f"/clusters/{made['id']}/events", tenant=GREEN)).status_code == 404


async def test_lists_come_in_pages(rig: Rig) -> None:
    made = [await rig.create(name) for name in ("a", "b", "c")]
    for path, wanted in (
        ("/clusters", [one["id"] for one in made]),
        ("/operations", [one["job_id"] for one in reversed(made)]),
    ):
        first = await rig.ask("GET", f"{path}?limit=2")
        assert [one["id"] for one in first.json()["data"]] == wanted[:2]
        second = await rig.ask("GET", f"{path}?limit=2&marker={first.headers['X-Next-Marker']}")
        assert [one["id"] for one in second.json()["data"]] == wanted[2:]
        assert "X-Next-Marker" not in second.headers
        whole = await rig.ask("GET", path)
        assert ([one["id"] for one in whole.json()["data"]], "X-Next-Marker" in whole.headers) == (wanted, False)
        for query in ("limit=0", "limit=1001", "limit=x", "marker=00000000-0000-4000-8000-000000000000"):
            assert (await rig.ask("GET", f"{path}?{query}")).status_code == 400, query


async def test_a_cluster_that_cannot_be_read_is_listed_as_failed(rig: Rig) -> None:
    made = [await rig.create(name) for name in ("a", "b")]
    this = tables.cluster.c.uuid == made[0]["id"]
    await rig.store._database.write(
        lambda connection: connection.execute(update(tables.cluster).where(this).values(spec="{"))
    )
    answer = await rig.ask("GET", "/clusters")
    assert answer.status_code == 200
    assert [(one["name"], one["status"]) for one in answer.json()["data"]] == [("a", "failed"), ("b", "pending")]
    assert "cannot be read" in answer.json()["data"][0]["status_reason"]
