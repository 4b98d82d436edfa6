"""Running an admin's command, and being able to say afterwards how it went.

A site's commands are scripts of every quality. Whatever they do, these rules hold:

- A command is a list of words, never a line for a shell. Values are put into
  words and never make new ones.
- It runs in a session and process group of its own, with nothing on its
  standard input, a short environment, and both outputs read all the time.
- It ends: by itself, at its deadline, when it makes no progress, when it writes
  more than it may, or when nobody waits for it any more. When `run_command`
  returns or raises, its processes are gone and reaped.
- How it ended is told in its own words, and as an `ErrorClass` that says what
  to do about it. The table of exit codes in `exit_codes` is the only one.

`docs/stage-command.md` tells admins the same.
"""

from __future__ import annotations

from common.command.credentials import Credentials
from common.command.environment import PASSED_BY_DEFAULT, command_environment
from common.command.exit_codes import (
    EXIT_CODES,
    ErrorClass,
    Failure,
    exit_code_table,
    explain_exit,
)
from common.command.janitor import Janitor
from common.command.leftovers import kill_leftover, kill_leftovers
from common.command.open_input import OpenInput
from common.command.progress import as_note, json_object, note_of, progress_in
from common.command.run import run_command
from common.command.spec import CommandResult, CommandSpec, Cut
from common.command.template import (
    PLACEHOLDERS,
    STORE_PLACEHOLDERS,
    check_template,
    fill_words,
    render_argv,
)

__all__ = [
    "EXIT_CODES",
    "PASSED_BY_DEFAULT",
    "PLACEHOLDERS",
    "STORE_PLACEHOLDERS",
    "CommandResult",
    "CommandSpec",
    "Credentials",
    "Cut",
    "ErrorClass",
    "Failure",
    "Janitor",
    "OpenInput",
    "as_note",
    "check_template",
    "command_environment",
    "exit_code_table",
    "explain_exit",
    "fill_words",
    "json_object",
    "kill_leftover",
    "kill_leftovers",
    "note_of",
    "progress_in",
    "render_argv",
    "run_command",
]
