"""A process that leads, stops itself in the middle of its work, and tries to write when it goes on.

Run by `test_paused_leader`: with the URL of an API server; says on its output what happened.
"""

import asyncio
import os
import signal
import sys

from ccm.kube.client import NotLeading, open_client
from ccm.kube.kinds import NODES
from ccm.kube.leader import LeaderElector, LeadershipLost


def say(what: str) -> None:
    sys.stdout.write(what + "\n")
    sys.stdout.flush()


async def main(url: str) -> None:
    async with await open_client(master=url) as client:
        elector = LeaderElector(
            client, name="ccm", namespace="kube-system", identity="one", lease_duration_s=6, renew_deadline_s=4
        )
        writer = client.guarded(elector.is_valid)

        async def lead() -> None:
            for value in ("before", "after"):
                body = {"metadata": {"labels": {"written": value}}}
                deadline = asyncio.get_running_loop().time() + 30
                try:
                    await writer.patch(NODES, "a", body=body, deadline=deadline)
                except NotLeading:
                    say("refused")
                    raise
                say("written")
                os.kill(os.getpid(), signal.SIGSTOP)

        try:
            await elector.run(lead)
        except LeadershipLost as lost:
            say(f"lost {lost.has_stopped}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
