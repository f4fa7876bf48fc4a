"""Fixtures of the virtual machine tests. The first run builds the guest's root disk, which takes a minute.

All tests of this folder share one event loop, because they share machines.
"""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from tests.vm.code import code_disk
from tests.vm.guest import Guest, MachineParts, boot, create_state
from tests.vm.image import guest_image
from tests.vm.plugin import PORTS
from tests.vm.tools import MissingToolError, ensure_tools

ALONE = ("test_power_cut", "test_writelog")
"""Modules whose tests share no machine."""
LIMIT_S = 300
"""Time limit of a test, the build of the root disk included."""

Machines = Callable[[str], MachineParts]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here not in item.path.parents:
            continue
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(LIMIT_S))
        # Tests that share a machine stay in one process, so that it boots once.
        if item.path.stem not in ALONE:
            machine = item.path.stem if item.path.stem == "test_crash_states" else "shared"
            item.add_marker(pytest.mark.xdist_group(machine))


@pytest.fixture(scope="session")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Machines:
    """Give the parts of a machine by its name; one name is one node, with what it remembers over power cuts."""
    try:
        ensure_tools()
        image = guest_image()
        folder = tmp_path_factory.mktemp("machines")
        code = code_disk(folder)
    except MissingToolError as error:
        pytest.exit(str(error), returncode=1)
    known: dict[str, MachineParts] = {}

    def parts(name: str) -> MachineParts:
        if name not in known:
            known[name] = MachineParts(image, code, create_state(folder / f"{name}.ext4"), name, PORTS)
        return known[name]

    return parts


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def guest(machines: Machines) -> AsyncIterator[Guest]:
    """Give a machine that runs for all tests which do not cut its power; each module starts its own plugin in it."""
    async with boot(machines("shared")) as machine:
        yield machine
