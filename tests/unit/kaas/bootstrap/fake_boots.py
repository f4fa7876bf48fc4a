"""What machines told, kept in memory: `kaas.domain.store.Boots` for tests of who calls it."""

import asyncio
from dataclasses import dataclass, field

from kaas.domain.model import Lease


@dataclass
class FakeBoots:
    known: set[str] = field(default_factory=set)
    reports: list[tuple[str, str, str, str]] = field(default_factory=list)
    hangs: bool = False
    waiting: int = 0
    trouble: Exception | None = None

    async def issue_boot_token(self, lease: Lease, node_id: str, token_hash: str, *, ttl_s: float) -> None:
        self.known.add(token_hash)

    async def report_boot(self, token_hash: str, *, phase: str, ssh_host_key: str, log_tail: str) -> bool:
        if self.hangs:
            self.waiting += 1
            await asyncio.Event().wait()
        if self.trouble is not None:
            raise self.trouble
        if token_hash not in self.known:
            return False
        self.reports.append((token_hash, phase, ssh_host_key, log_tail))
        return True
