"""A real process that is stopped by a signal, longer than its lease lasts: it must not write when it goes on."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from tests.support.fake_api import fake_api
from tests.unit.ccm.kube.rig import node, until


def is_stopped(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


async def test_it_notices_before_its_next_write():
    async with fake_api() as api:
        api.put(node("a"))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.unit.ccm.kube.paused_leader", api.url, stdout=asyncio.subprocess.PIPE
        )
        try:
            await until(lambda: api.writes and is_stopped(process.pid))
            # As long as it takes for the lease to run out; nothing is measured by it.
            await asyncio.sleep(6.5)
            taken = api.get("leases", "ccm", "kube-system")
            taken["spec"]["holderIdentity"] = "two"
            api.put(taken)
            os.kill(process.pid, signal.SIGCONT)
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()
        assert output.decode().split("\n") == ["written", "refused", "lost True", ""]
        assert len(api.writes) == 1
        assert api.get("nodes", "a")["metadata"]["labels"] == {"written": "before"}
        assert api.get("leases", "ccm", "kube-system")["spec"]["holderIdentity"] == "two"
