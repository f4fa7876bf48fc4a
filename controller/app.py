"""The composition root of `tc-csi-controller`: settings → client → rules → servicers → shell.

    tc-csi-controller [serve] --endpoint … --platform-url … --cluster-id …
    tc-csi-controller doctor --platform-url … --cluster-id … [--node NAME,…] [--output json]

Belongs here: wiring. Does not belong here: any rule.
"""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from controller import answers
from controller.access import open_client
from controller.cloud_errors import cloud_error
from controller.features import ASSUMED, all_offered
from controller.group_servicer import GroupControllerServicer
from controller.platform import open_cloud
from controller.ports import CloudError, CloudOffer
from controller.rules import wire_rules
from controller.servicer import ControllerServicer
from controller.settings import ControllerSettings
from csi.metrics import Metrics
from csi.pb import csi_pb2_grpc
from csi.program import Plugin, ServeAnewError
from csi.program import main as run_plugin
from process.command_line import EXIT_FAILED, EXIT_OK, settings_or_exit_code
from process.request import request_id
from thecloud.errors import PlatformError

LOG = logging.getLogger("controller.app")

PROGRAM = "tc-csi-controller"
SUMMARY = "The controller plugin of the CSI driver csi.thecloud.io: volumes, attachments, snapshots."
DOCTOR_SUMMARY = "Checks the platform from here: key, clock, tier, marks, nodes. Exit code 1 when something is bad."
START_LIMIT_S = 10.0
"""How long the first answer of the platform is waited for before anything is served."""
WATCH_LIMIT_S = 10.0
WATCH_PAUSE_S = 5.0
"""Between two looks; once the platform has answered, a look costs a request every ten minutes."""


@asynccontextmanager
async def build(settings: ControllerSettings, metrics: Metrics) -> AsyncIterator[Plugin]:
    """Open the platform and wire everything that is served; closes the platform afterwards."""

    def observe(*, method: str, route: str, outcome: str, seconds: float) -> None:
        metrics.platform_called(f"{method} {route}", outcome, seconds)

    async with open_client(settings, request_id=request_id.get, observer=observe) as client:
        cloud = open_cloud(client)

        async def check(*, deadline: float) -> None:
            try:
                await client.check(deadline)
            except PlatformError as error:
                raise cloud_error(error, "checking the platform") from error

        announced = await first_features(cloud.offer)
        rules = wire_rules(cloud, settings.ownership(), absence_confirm_s=settings.absence_confirm_s)
        controller = ControllerServicer(rules, announced=announced, default_s=settings.call_limit_s)
        groups = GroupControllerServicer(rules, announced=announced, default_s=settings.call_limit_s)
        yield Plugin(
            services=[
                lambda server: csi_pb2_grpc.add_ControllerServicer_to_server(controller, server),
                lambda server: csi_pb2_grpc.add_GroupControllerServicer_to_server(groups, server),
            ],
            capabilities=answers.plugin_capabilities(announced),
            ready=check,
            tasks={"what the platform offers": lambda: watch_features(cloud.offer, announced)},
        )


async def first_features(offer: CloudOffer, *, limit_s: float = START_LIMIT_S) -> frozenset[str]:
    """Give what the platform offers, or, when it does not say so in time, what is announced until it does.

    A controller that did not serve before would leave claims pending without a word: its sidecars wait in silence. One
    that serves answers each of their calls with what is wrong.
    """
    try:
        return await offer.features(deadline=asyncio.get_running_loop().time() + limit_s)
    except CloudError as error:
        LOG.warning(
            "the platform does not say what it offers; everything is announced until it does: %s", error.message
        )
        return ASSUMED


async def watch_features(offer: CloudOffer, known: frozenset[str], *, pause_s: float = WATCH_PAUSE_S) -> None:
    """Raise ServeAnewError when the platform offers something else than what was announced."""
    problem = ""
    while True:
        try:
            found = await offer.features(deadline=asyncio.get_running_loop().time() + WATCH_LIMIT_S)
        except CloudError as error:
            if error.message != problem:
                LOG.warning("the platform still does not say what it offers: %s", error.message)
            problem = error.message
        else:
            problem = ""
            if all_offered(found) != all_offered(known):
                LOG.info("the platform offers something else than what is announced; announcing it anew")
                raise ServeAnewError
        await asyncio.sleep(pause_s)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; gives its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["doctor"]:
        return _run_doctor(words[1:])
    if words[:1] == ["serve"]:
        del words[0]
    return run_plugin(PROGRAM, SUMMARY, ControllerSettings, build, words)


def _run_doctor(argv: Sequence[str]) -> int:
    # Imported here only: serving does not need it, and start time and memory count there.
    from controller import doctor  # noqa: PLC0415

    settings = settings_or_exit_code(f"{PROGRAM} doctor", DOCTOR_SUMMARY, doctor.DoctorSettings, argv)
    if isinstance(settings, int):
        return settings
    findings = asyncio.run(doctor.examine(settings))
    sys.stdout.write(doctor.report(findings, settings.output))
    return EXIT_OK if doctor.is_healthy(findings) else EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
