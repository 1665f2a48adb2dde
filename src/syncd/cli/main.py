"""`syncd`: the table of commands, and the exit codes: 0 done, 1 failed, 2 usage, 78 bad configuration."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

import click

from syncd import __version__
from syncd.domain.errors import SyncdError

EXIT_FAILED = 1
EXIT_USAGE = 2

#: name -> (module, attribute, help). A module that is not there is not listed. The help stands here, so that listing the
#: commands imports none of them.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "run": ("run", "command", "Run the daemon."),
    "check": ("config", "check", "Validate the configuration and try every dependency."),
    "config": ("config", "command", "Show effective settings and every environment name."),
    "migrate": ("migrate", "command", "Make a configuration from an .env, local.settings.json or host.json."),
    "status": ("status", "command", "Whether the daemon is ready, and how its parts are."),
    "demo": ("demo", "command", "Two systems kept in step, 1,000 webhooks, a kill -9, and the books."),
    "jobs": ("jobs", "command", "List, show, run, pause and resume scheduled jobs."),
    "tasks": ("tasks", "command", "Add, list, show, cancel and retry sync tasks."),
    "results": ("results", "command", "List and show results of sync tasks."),
    "queues": ("queues", "command", "Look into queues; replay, edit and drop parked messages."),
    "executions": ("executions", "command", "List and show runs of jobs."),
    "entities": ("entities", "command", "List, show and edit stored records."),
    "connections": ("connections", "command", "Add, try, pull, backfill, change and remove connections."),
    "credentials": ("credentials", "command", "Rotate the key under which credentials are kept."),
    "webhooks": ("webhooks", "command", "Register, rotate, verify and replay webhooks."),
    "conflicts": ("conflicts", "command", "List and resolve conflicts."),
    "tenants": ("tenants", "command", "Remove a tenant everywhere."),
    "backup": ("backup", "command", "Copy the store while it runs."),
    "scaler": ("scaler", "command", "Plan, show and sweep container groups."),
    "costs": ("costs", "command", "Import, trigger and report costs."),
    "advisor": ("advisor", "command", "Fetch and report Azure Advisor recommendations."),
    "providers": ("providers", "command", "List provider adapters, or begin a new one."),
}


class Commands(click.Group):
    """Finds a command's module when it is called, not before: `syncd run` must start quickly."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, (module, _, _) in COMMANDS.items() if find_spec(f"syncd.cli.{module}") is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(import_module(f"syncd.cli.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][2]) for name in self.list_commands(ctx)])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            close = difflib.get_close_matches(args[0], self.list_commands(ctx), 1)
            hint = f"Did you mean {close[0]!r}?" if close else "`syncd --help` lists the commands."
            raise click.UsageError(f"There is no command {args[0]!r}. {hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="syncd %(version)s")
def cli() -> None:
    """One daemon that keeps companies' systems in step.

    Exit codes: 0 done, 1 failed, 2 usage, 78 bad configuration.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and answer its exit code. Errors that we know are one message on stderr, never a traceback."""
    try:
        code = cli.main(None if arguments is None else list(arguments), "syncd", standalone_mode=False)
    except SyncdError as error:
        from syncd.settings import ConfigurationError  # here: `--version` and `--help` need no settings

        print(f"syncd: {error}", file=sys.stderr)
        return error.EXIT_CODE if isinstance(error, ConfigurationError) else EXIT_FAILED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        print("syncd: interrupted", file=sys.stderr)
        return EXIT_FAILED
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    return code if isinstance(code, int) else 0
