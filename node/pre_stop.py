"""`tc-csi-node pre-stop`: the hook that Kubernetes runs in the plugin's container before it ends the plugin.

On a node that is drained or taken away it waits until no volume of this driver is attached there, so that the living
plugin can unmount them; in any other case, such as a rolling update, it returns at once. The exit code is 0 whatever
came of it, but for wrong settings: a hook that fails changes nothing of the pod's end, and only leaves an event that
alarms people about a node that is going away anyway. Not here: the rule (`departure`).
"""
# ruff: noqa: RUF009 - the calls in the dataclass declare fields

import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from csi.errors import CsiError
from node.departure import Departure
from node.kube.api import in_cluster
from node.kube.attachments import KubeAttachments
from node.kube.nodes import KubeNodes
from process.command_line import EXIT_OK, settings_or_exit_code
from process.kinds import DURATION, LOG_FORMAT, LOG_LEVEL, REQUIRED_TEXT
from process.logs import LogFormat, LogLevel, configure_logging
from process.settings import option

_LOG = logging.getLogger(__name__)

SUMMARY = (
    "Waits until the volumes are detached when this node is drained or taken away. For the preStop hook of the node "
    "plugin's container; the outcome goes to the container's log."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreStopSettings:
    """The options of `tc-csi-node pre-stop`."""

    node_name: str = option(REQUIRED_TEXT, "Name of this host's Node object.", required=True)
    drain_wait_s: float = option(
        DURATION,
        "Longest wait for the volumes, in seconds. The pod's terminationGracePeriodSeconds has to be at least this, "
        "plus the plugin's --grace-s, plus 10.",
        default=90.0,
    )
    log_level: LogLevel = option(LOG_LEVEL, "Least level that is logged.", default=LogLevel.INFO)
    log_format: LogFormat = option(LOG_FORMAT, "Form of a log line.", default=LogFormat.TEXT)


def main(program: str, argv: Sequence[str]) -> int:
    """Wait if there is a reason to; 2 for wrong settings, else 0."""
    settings = settings_or_exit_code(program, SUMMARY, PreStopSettings, argv)
    if isinstance(settings, int):
        return settings
    with open_container_log() as stream:
        configure_logging(level=settings.log_level, form=settings.log_format, stream=stream)
        try:
            _LOG.info("pre-stop: %s", asyncio.run(wait(settings)))
        except CsiError as error:
            _LOG.warning("pre-stop: nothing more is waited for: %s", error.message)
        except Exception:  # noqa: BLE001 - the edge of the program: the pod ends in any case, and nobody else is told
            _LOG.exception("pre-stop: nothing more is waited for after an unexpected error")
    return EXIT_OK


async def wait(settings: PreStopSettings) -> str:
    """Wait with the API of the cluster whose pod this is; gives the outcome. Raises CsiError."""
    api = in_cluster(os.environ)
    if api is None:
        return "this is no pod of a cluster, so nothing is waited for"
    departure = Departure(nodes=KubeNodes(api), attachments=KubeAttachments(api), node_name=settings.node_name)
    return await departure.wait(limit_s=settings.drain_wait_s)


def open_container_log(proc_root: Path = Path("/proc")) -> TextIO:
    """Give where the container's log is written to: Kubernetes keeps nothing of what a hook itself writes.

    That is the standard error of the container's first process. Where the first process is something else, as when the
    host's processes are visible, it is our own.
    """
    try:
        if (proc_root / "1/exe").readlink() == (proc_root / "self/exe").readlink():
            return (proc_root / "1/fd/2").open("a", buffering=1)
    except OSError:
        # A container that hides its first process, or a stream that cannot be opened by its name.
        pass
    return os.fdopen(os.dup(sys.stderr.fileno()), "w", buffering=1)
