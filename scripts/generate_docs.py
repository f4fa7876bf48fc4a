"""Writes the pages that come from tables in the code; `--check` fails and names each page that differs."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ccm.annotations import reference as annotation_reference
from ccm.metrics import TABLE as MANAGER_TABLE
from ccm.settings import ManagerSettings
from controller import reference as parameters
from controller.settings import ControllerSettings
from csi.codes import STATUS_OF_KIND
from csi.errors import ErrorKind
from csi.metrics import TABLE
from kaas.api.metrics import TABLE as API_TABLE
from kaas.program import COMMANDS
from kaas.reconcile.metrics import TABLE as CONDUCTOR_TABLE
from kaas.settings import ServiceSettings
from node.pre_stop import PreStopSettings
from node.settings import NodeSettings
from process.metrics import Metric
from process.settings import reference_table
from scripts import bad_input, kaas_pages
from scripts.generated import GENERATED

FOLDER = Path(__file__).parents[1] / "docs"


def settings_page() -> str:
    """Give the page of all programs' settings."""
    return "\n".join(
        [
            "# Settings\n",
            GENERATED.format("the programs' `settings.py`"),
            "Every option can be given as a flag, as a variable, as `…_FILE` naming a file with the value, or as",
            "`file:/path` in place of the value. Secrets have no flag. All mistakes are reported at once, by name.\n",
            "## `tc-csi-controller`\n",
            reference_table(ControllerSettings),
            "## `tc-csi-node`\n",
            reference_table(NodeSettings),
            "## `tc-csi-node pre-stop`\n",
            "The hook inherits the container's variables, not the plugin's flags: give what both need as variables.\n",
            reference_table(PreStopSettings),
            "## `tc-ccm`\n",
            "Durations may also be written as `90s`, `1m30s` or `500ms`. `-v` is taken as `--v`.\n",
            reference_table(ManagerSettings),
            *_kaas_settings(),
        ]
    )


def _kaas_settings() -> list[str]:
    lines = [
        "## `kaas serve`, `kaas api`, `kaas conductor`, `kaas config check`\n",
        "Durations may also be written as `90s`, `1m30s` or `500ms`.\n",
        reference_table(ServiceSettings),
    ]
    for name, command in COMMANDS.items():
        if command.options is not ServiceSettings:
            lines += [f"## `kaas {name}`\n", f"{command.summary}\n", reference_table(command.options)]
    return lines


def metrics_page() -> str:
    """Give the page of metrics."""
    head = ["# Metrics\n", GENERATED.format("the programs' `metrics.py`")]
    storage = ["## `tc-csi-controller` and `tc-csi-node`\n", *_metric_rows(TABLE)]
    manager = ["## `tc-ccm`\n", *_metric_rows(MANAGER_TABLE)]
    service = [
        "## `kaas`\n",
        "A process that conducts has the first table, one that serves the API the second; `kaas serve` has both.\n",
        *_metric_rows(CONDUCTOR_TABLE),
        *_metric_rows(API_TABLE),
    ]
    return "\n".join([*head, *storage, *manager, *service])


def _metric_rows(table: Sequence[Metric]) -> list[str]:
    rows = [
        f"| `{metric.name}` | {metric.kind.value} | {', '.join(metric.labels)} | {metric.doc} |" for metric in table
    ]
    return ["| Name | Kind | Labels | Meaning |", "|---|---|---|---|", *rows, ""]


def codes_page() -> str:
    """Give the page of error kinds and their codes."""
    docs = dict(zip(ErrorKind, _docs_of_kinds(), strict=True))
    rows = [f"| `{code.name}` | {docs[kind]} |" for kind, code in STATUS_OF_KIND.items()]
    head = ["# Status codes\n", GENERATED.format("`csi/errors.py`")]
    return "\n".join([*head, "| Code | Means |", "|---|---|", *rows, ""])


def _docs_of_kinds() -> list[str]:
    # An enum's members carry no docstrings at run time; the source does.
    source = (Path(__file__).parents[1] / "csi" / "errors.py").read_text().split("class CsiError")[0]
    body = source.split("class ErrorKind(Enum):")[1]
    return [part.strip() for part in body.split('"""')[3::2]]


PAGES = {
    "bad-input.md": bad_input.page,
    "reference/parameters.md": parameters.page,
    "reference/settings.md": settings_page,
    "reference/metrics.md": metrics_page,
    "reference/codes.md": codes_page,
    "reference/annotations.md": annotation_reference.page,
    "reference/kaas-errors.md": kaas_pages.errors_page,
    "reference/kaas-api.md": kaas_pages.api_page,
}


def main() -> int:
    """Write or compare the pages; gives the exit code."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--check", action="store_true")
    check = arguments.parse_args().check
    stale = []
    for name, page in PAGES.items():
        path, text = FOLDER / name, page().rstrip() + "\n"
        if check and (not path.exists() or path.read_text() != text):
            stale.append(f"docs/{name}")
        elif not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    if stale:
        print(f"not as generated: {', '.join(stale)}; run make docs", file=sys.stderr)
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main())
