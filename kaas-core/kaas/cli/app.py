"""The program `cloud`: its commands, and the options that stand before or behind any of them."""

import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from kaas.cli import access, clusters, groups, later, operations
from kaas.cli.output import Format
from kaas.cli.session import Session

_LONG = frozenset({"--api-url", "--api-key", "--output"})
_SHORT = frozenset({"-k", "-o"})
_ALIASES = {
    "kubernetes": "k8s",
    "cluster": "k8s",
    "delete": "rm",
    "ls": "list",
    "nodegroups": "nodegroup",
}
"""Other words for commands; they are understood and not shown."""


class AliasGroup(TyperGroup):
    """Understands other words for its commands."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Give the command of a word."""
        return super().get_command(ctx, cmd_name) or super().get_command(ctx, _ALIASES.get(cmd_name, ""))


class EverywhereGroup(AliasGroup):
    """Takes the options of the program wherever they stand, as users of the platform's command write them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Move them to the front, where they are understood."""
        rest: list[str] = super().parse_args(ctx, to_front(args))
        return rest


def to_front(arguments: Iterable[str]) -> list[str]:
    """Put the options of the program before everything else; what stands behind `--` is left alone."""
    front: list[str] = []
    back: list[str] = []
    words = list(arguments)
    while words:
        word = words.pop(0)
        if word == "--":
            back += [word, *words]
            break
        if word in _LONG | _SHORT:
            front += [word, *words[:1]]
            words = words[1:]
        elif word.partition("=")[0] in _LONG or word[:2] in _SHORT:
            front.append(word)
        else:
            back.append(word)
    return front + back


def make_app() -> typer.Typer:
    """Put the program together."""
    app = typer.Typer(
        name="cloud",
        cls=EverywhereGroup,
        help="Kubernetes on The Cloud.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_start)
    app.add_typer(_kubernetes(), name="k8s", help="Kubernetes clusters.")
    return app


def main(argv: Sequence[str] | None = None) -> None:
    """Run the program; it ends with an exit code of `kaas.cli.errors.ExitCode`."""
    make_app()(list(sys.argv[1:] if argv is None else argv), prog_name="cloud")


def _start(
    context: typer.Context,
    api_url: Annotated[
        str, typer.Option("--api-url", envvar="CLOUD_API_URL", help="Address of the service.", show_default=False)
    ] = "",
    api_key: Annotated[
        str,
        typer.Option(
            "--api-key",
            "-k",
            envvar="CLOUD_API_KEY",
            help="API key; others see it in the list of processes, so better by CLOUD_API_KEY or file.",
            show_default=False,
        ),
    ] = "",
    output: Annotated[Format, typer.Option("--output", "-o", help="Form of the output.")] = Format.TABLE,
    poll_s: Annotated[float, typer.Option("--poll-seconds", min=0.01, hidden=True)] = 1.0,
) -> None:
    context.obj = Session(api_url, api_key, output, poll_s)


def _kubernetes() -> typer.Typer:
    app = typer.Typer(cls=AliasGroup, no_args_is_help=True, rich_markup_mode=None)
    app.command("create")(clusters.create)
    app.command("list")(clusters.list_)
    app.command("show")(clusters.show_)
    app.command("kubeconfig")(access.kubeconfig)
    app.command("scale")(clusters.scale)
    app.command("health")(clusters.health)
    app.command("repair")(clusters.repair)
    app.command("rm")(clusters.delete)
    app.command("operations")(operations.operations)
    app.command("cancel")(operations.cancel)
    app.command("events")(operations.events)
    app.command("ssh-key")(access.ssh_key)
    app.add_typer(_node_groups(), name="nodegroup", help="Node groups of a cluster.")
    app.command("upgrade")(later.upgrade)
    app.command("backup")(later.backup)
    app.command("restore")(later.restore)
    app.command("rotate-secrets")(later.rotate_secrets)
    return app


def _node_groups() -> typer.Typer:
    app = typer.Typer(cls=AliasGroup, no_args_is_help=True, rich_markup_mode=None)
    app.command("list")(groups.list_)
    app.command("create")(groups.create)
    app.command("update")(groups.update)
    app.command("rm")(groups.delete)
    return app
