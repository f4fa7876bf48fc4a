"""The composition root of `tc-csi-controller`: settings → client → rules → servicers → shell.

    tc-csi-controller [serve] --endpoint … --platform-url … --cluster-id …
    tc-csi-controller doctor --platform-url … --cluster-id … [--node NAME,…] [--output json]

Belongs here: wiring. Does not belong here: any rule.
"""

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from controller import answers
from controller.access import open_client
from controller.group_servicer import GroupControllerServicer
from controller.platform import cloud_error, open_cloud
from controller.ports import CloudError, CloudOffer
from controller.rules import wire_rules
from controller.servicer import ControllerServicer
from controller.settings import ControllerSettings
from csi.metrics import Metrics
from csi.pb import csi_pb2_grpc
from csi.program import EXIT_FAILED, EXIT_OK, EXIT_USAGE, Plugin
from csi.program import main as run_plugin
from csi.request import request_id
from csi.settings import SettingsError, help_text, read_settings
from thecloud.errors import PlatformError

LOG = logging.getLogger("controller.app")

PROGRAM = "tc-csi-controller"
SUMMARY = "The controller plugin of the CSI driver csi.thecloud.io: volumes, attachments, snapshots."
DOCTOR_SUMMARY = "Checks the platform from here: key, clock, tier, marks, nodes. Exit code 1 when something is bad."
DISCOVERY_LIMIT_S = 10.0
DISCOVERY_PAUSE_S = 2.0


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

        features = await await_features(cloud.offer, pause_s=DISCOVERY_PAUSE_S)
        rules = wire_rules(cloud, settings.ownership(), absence_confirm_s=settings.absence_confirm_s)
        controller = ControllerServicer(rules, default_s=settings.call_limit_s)
        groups = GroupControllerServicer(rules, default_s=settings.call_limit_s)
        yield Plugin(
            services=[
                lambda server: csi_pb2_grpc.add_ControllerServicer_to_server(controller, server),
                lambda server: csi_pb2_grpc.add_GroupControllerServicer_to_server(groups, server),
            ],
            capabilities=answers.plugin_capabilities(features),
            ready=check,
        )


async def await_features(offer: CloudOffer, *, pause_s: float) -> frozenset[str]:
    """Ask until the platform says what it offers: without that nothing can be advertised truthfully.

    Waits as long as it takes; /healthz is served meanwhile, so a platform that is away restarts nothing.
    """
    loop = asyncio.get_running_loop()
    while True:
        try:
            return await offer.features(deadline=loop.time() + DISCOVERY_LIMIT_S)
        except CloudError as error:
            LOG.warning("the platform does not say what it offers; asking again: %s", error.message)
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

    if {"--help", "-h"} & set(argv):
        sys.stdout.write(help_text(doctor.DoctorSettings, f"{PROGRAM} doctor", DOCTOR_SUMMARY))
        return EXIT_OK
    try:
        settings = read_settings(doctor.DoctorSettings, argv, os.environ)
    except SettingsError as error:
        sys.stderr.write("".join(f"{PROGRAM} doctor: {problem}\n" for problem in error.problems))
        return EXIT_USAGE
    findings = asyncio.run(doctor.examine(settings))
    sys.stdout.write(doctor.report(findings, settings.output))
    return EXIT_OK if doctor.is_healthy(findings) else EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
