"""`packhorse`: the command, and how its errors become lines and exit codes.

Whatever happens, stderr gets one line that starts with `packhorse: error:`, and
the exit code is the one its class of error has in `docs/errors.md`. A traceback
is only shown when asked for, with PACKHORSE_LOG=DEBUG.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from typing import TYPE_CHECKING, Annotated

import typer

from common.errors import PackhorseError, UsageError
from common.text import one_line, printable
from packhorse.cli import (
    checking,
    cluster,
    config,
    datasets,
    draining,
    files,
    pools,
    processing,
    purge,
    scripts,
    servers,
    sessions,
    staging,
    storing,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

#: 128 + SIGINT, as shells have it.
INTERRUPTED = 130
#: sysexits' EX_SOFTWARE: a mistake of ours.
INTERNAL_ERROR = 70


def _version(wanted: bool) -> None:
    if wanted:
        from packhorse.version import __version__

        typer.echo(f"packhorse {__version__}")
        raise typer.Exit


def build() -> typer.Typer:
    """The whole command line."""
    app = typer.Typer(
        name="packhorse",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["--help", "-h"]},
    )

    @app.callback()
    def packhorse(
        version: Annotated[
            bool,
            typer.Option("--version", callback=_version, is_eager=True, help="The version."),
        ] = False,
    ) -> None:
        """Carry data from tape to the people who analyse it, a packet at a time."""

    for group in (
        servers,
        pools,
        cluster,
        draining,
        purge,
        files,
        staging,
        storing,
        datasets,
        processing,
        sessions,
        config,
        scripts,
        checking,
    ):
        group.register(app)
    return app


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        # Names in stories and reasons may hold what a terminal's encoding has not.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    code = _run(sys.argv[1:] if argv is None else list(argv))
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has seen enough. Python would complain at its own exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _run(arguments: list[str]) -> int:
    try:
        code = build()(arguments, prog_name="packhorse", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else 1
    except PackhorseError as error:
        return _complain(error.message, error.exit_code)
    except typer.TyperException as error:
        # Asked for nothing at all, typer has shown the help and has no more to say.
        if not error.format_message():
            return UsageError.exit_code
        return _complain(_first_lower(error.format_message()), UsageError.exit_code)
    except typer.Abort:
        return INTERRUPTED
    except UnicodeEncodeError:
        return _complain("an argument is not UTF-8 text", UsageError.exit_code)
    except Exception as error:  # noqa: BLE001 - the last resort before a traceback
        if os.environ.get("PACKHORSE_LOG", "").upper() == "DEBUG":
            traceback.print_exc()
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        hint = "this is a bug of ours; PACKHORSE_LOG=DEBUG shows where"
        return _complain(f"{one_line(what)} ({hint})", INTERNAL_ERROR)


def _complain(message: str, code: int) -> int:
    """Lines of their own only for what lists several mistakes, as configurations do."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"packhorse: error: {printable(message)}\n")
    return code


def _first_lower(text: str) -> str:
    return text[:1].lower() + text[1:]
