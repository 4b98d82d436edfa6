"""The pages of `docs/` that are made from the code, so that they are never out of date.

    python -m packhorse.cli.reference docs

writes `configuration.md`, `errors.md` and `commands.md`; a test compares them.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

import typer

from common.config.reference import configuration_page, example_text
from common.errors import PackhorseError, all_errors
from packhorse.cli.main import INTERNAL_ERROR, INTERRUPTED, build
from packhorse.cli.output import say

SMALLEST = Path(__file__).parents[2] / "examples" / "smallest.toml"

ERRORS = """\
# Errors and exit codes

Whatever goes wrong, a command prints one line on stderr, `packhorse: error: ...`, that says what, where, and
what to do; only a configuration with several mistakes takes several lines. The exit code tells programs what kind of error
it was. The codes are stable; servers send the same kinds over gRPC, under the status given here and with the kind in
the trailing metadata `packhorse-code`, and the Python API raises them as classes of `common.errors`.

| exit code | kind | class | gRPC status | what it means |
|---|---|---|---|---|
| 0 | | | OK | All is well. |
{rows}| {internal} | | | INTERNAL | A mistake of ours; with `PACKHORSE_LOG=DEBUG` a traceback is shown. A server exits with it when half of it died. |
| {interrupted} | | | | Interrupted with Ctrl-C. |

Errors that may go away by themselves (the Python API marks them `retryable`): {retryable}.
"""

COMMANDS = """\
# Commands

Every command finds its site by `--config FILE`, by the file that the environment variable `PACKHORSE_CONFIG`
names, or, if it is a client's, by `--redirector HOST:PORT`. Every query answers in JSON with `--json`: sizes in bytes,
times in seconds. These options are not repeated below. Progress bars appear on stderr if that is a terminal.
Exit codes are listed in [errors.md](errors.md).

| variable | what it does |
|---|---|
| `PACKHORSE_CONFIG` | The configuration file, where `--config` is not given. |
| `PACKHORSE_<TABLE>__<KEY>` | Overrides a key of that file; see [configuration.md](configuration.md). |
| `PACKHORSE_HOST` | The host label of this machine's workers and clients; default: its host name. |
| `PACKHORSE_LOG` | How much servers log to stderr: `DEBUG`, `INFO` (the default), `WARNING`, `ERROR`. |
| `PACKHORSE_EXIT_WITH_PARENT` | If set, servers and workers stop when their standard input, a pipe, is closed. |

"""
#: Options that nearly every command has; the introduction tells of them.
COMMON_OPTIONS = frozenset({"config", "redirector", "as_json"})


def pages() -> dict[str, str]:
    """The text of every generated page by its file name."""
    return {
        "configuration.md": configuration_page(example_text(SMALLEST)),
        "errors.md": errors_page(),
        "commands.md": commands_page(),
    }


def errors_page() -> str:
    """Every kind of error, with its exit code."""
    ours = [kind for kind in all_errors().values() if kind.__module__ == PackhorseError.__module__]
    kinds = sorted(ours, key=lambda kind: kind.exit_code)
    return ERRORS.format(
        rows="".join(_error_row(kind) for kind in kinds),
        internal=INTERNAL_ERROR,
        interrupted=INTERRUPTED,
        retryable=", ".join(f"`{kind.code}`" for kind in kinds if kind.retryable),
    )


def _error_row(kind: type[PackhorseError]) -> str:
    about = inspect.getdoc(kind) or ""
    cells = (str(kind.exit_code), f"`{kind.code}`", f"`{kind.__name__}`", kind.grpc_status, about)
    return "| " + " | ".join(cells) + " |\n"


def commands_page() -> str:
    """Every command with its arguments and options."""
    return COMMANDS + "\n".join(_sections(typer.main.get_command(build()), ""))


def _sections(command: Any, path: str) -> list[str]:
    """A section for the command itself, and those of its subcommands."""
    full = f"{path} {command.name}".strip()
    # What is asked of the group itself is `packhorse --version`, and lists like `sessions`.
    own = [] if path == "" else [_section(command, full)]
    for inner in getattr(command, "commands", {}).values():
        own += _sections(inner, full)
    return own


def _section(command: Any, full: str) -> str:
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    options = [
        param
        for param in command.params
        if param.param_type_name == "option" and param.name not in COMMON_OPTIONS
    ]
    usage = " ".join([full, *(_usage(param) for param in arguments), "[OPTIONS]"])
    about = inspect.cleandoc(command.help or "")
    rows = [(param.metavar, param.help) for param in arguments]
    rows += [(_spelling(param), param.help) for param in options]
    heading = "#" * (full.count(" ") + 1)
    text = f"{heading} {full}\n\n```\n{usage}\n```\n\n{about}\n"
    if rows:
        text += "\n|  |  |\n|---|---|\n"
    return text + "".join(_row(spelling, help_ or "") for spelling, help_ in rows)


def _row(spelling: str, about: str) -> str:
    cells = (f"`{spelling}`", about)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _usage(argument: Any) -> str:
    name: str = argument.metavar
    return name if argument.required else f"[{name}]"


def _spelling(option: Any) -> str:
    names = ", ".join(option.opts)
    return names if option.is_flag or not option.metavar else f"{names} {option.metavar}"


def main(folder: Path) -> None:
    """Writes every page into a folder."""
    for name, text in pages().items():
        (folder / name).write_text(text)
        say(str(folder / name))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
