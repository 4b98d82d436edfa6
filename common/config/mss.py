"""`[mss]`: the archive behind the site, and how files are brought from it and stored in it."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field, model_validator

from common.command import PASSED_BY_DEFAULT, Credentials, check_template
from common.config.table import (
    AskCommand,
    Count,
    Export,
    FilesByVariable,
    HintCommand,
    ListCommand,
    PositiveCount,
    PositiveDuration,
    PositiveSize,
    RemoveCommand,
    StageCommand,
    StatCommand,
    StoreCommand,
    SubmitCommand,
    Table,
    VariablePattern,
)
from common.errors import NameRefused
from common.names import NameRule, normalise_prefix
from common.units import DurationS, parse_duration, parse_size


class NameRuleConfig(Table):
    """One rule for what the archive calls a part of the tree."""

    prefix: str | None = Field(
        None,
        description="LFNs below this directory. Whole components count: `/store` does not cover "
        "`/storeX`. The longest matching prefix decides.",
    )
    regex: str | None = Field(
        None,
        description="Instead of a prefix: LFNs that match this regular expression as a whole. "
        "Regex rules are tried before all prefixes, in the order written.",
    )
    archive: str = Field(
        description="What the archive calls them. After a prefix: where the rest of the name is "
        "appended, with one slash between. After a regex: may use its groups, `\\1` or `\\g<run>`."
    )

    limit: Count = Field(
        0,
        description="How many of these may be recalled at a time at the whole site; 0: any number.",
    )

    @model_validator(mode="after")
    def _is_a_rule(self) -> Self:
        if (self.prefix is None) == (self.regex is None):
            raise ValueError('give either "prefix" or "regex"')
        try:
            self.rule()
        except (NameRefused, re.error, IndexError) as error:
            raise ValueError(f"cannot be used: {error}") from None
        return self

    def rule(self) -> NameRule:
        """The rule at work."""
        return NameRule(archive=self.archive, prefix=self.prefix, regex=self.regex)


class MssConfig(Table):
    """The archive (mass storage system), and the commands that talk to it."""

    stagecmd: StageCommand = Field(
        description="The command that brings one file: a list of words, run as they are and never "
        'through a shell, or `"builtin"` to copy from a mounted file system. '
        "`{source}` is the archive's name, `{target}` the path to write, `{lfn}` the logical "
        "name, `{size}` the size in bytes, 0 if unknown; a list without any of these gets "
        "source and target as two more words, as XRootD's scripts expect. See `docs/stage-command.md`."
    )
    contract: Literal["blocking", "batch"] = Field(
        "blocking",
        description="How `stagecmd` is spoken to: one run for each file, or one run for many, with a line "
        "of JSON for each of them on its input and output. See `docs/stage-command.md`.",
    )
    batch_files: PositiveCount = Field(
        100,
        description="With the batch contract: the most files that one run is given. A node has up to "
        "`slots` runs at a time.",
    )
    batch_wait: PositiveDuration = Field(
        parse_duration("1s"),
        description="With the batch contract: how long the first file of a run waits for others.",
    )
    batch_cancel: bool = Field(
        False,
        description="With the batch contract: whether the command's input stays open after the last file, so that "
        "it is told of files that nobody wants any more. It must not wait for the end of its input then.",
    )
    submitcmd: SubmitCommand | None = Field(
        None,
        description="For archives that are asked for files and make them ready in their own time: the "
        "command that orders files (`{source}`, `{lfn}`, `{size}`, `{key}`), and prints the archive's id "
        "of the order. Once `pollcmd` says that a file is ready, `stagecmd` copies it. See `docs/stage-command.md`.",
    )
    pollcmd: AskCommand | None = Field(
        None,
        description="With `submitcmd`: the command that asks how an order stands (`{id}`, `{key}`, `{source}`, `{lfn}`).",
    )
    cancelcmd: AskCommand | None = Field(
        None,
        description="With `submitcmd`: the command that calls an order off. Without it the archive is not told.",
    )
    releasecmd: AskCommand | None = Field(
        None,
        description="With `submitcmd`: the command that tells the archive that a file which was ready is not needed "
        "any more. Without it the archive is not told.",
    )
    submit_files: PositiveCount = Field(
        1000,
        description="With `submitcmd`: the most files a node has on order at a time. Room for each is reserved.",
    )
    poll: PositiveDuration = Field(
        parse_duration("10s"),
        description="With `submitcmd`: how soon the archive is asked after an order, and after news.",
    )
    poll_max: PositiveDuration = Field(
        parse_duration("5m"),
        description="With `submitcmd`: how rarely it is asked in the end, while there are no news.",
    )
    submit_deadline: PositiveDuration = Field(
        parse_duration("24h"),
        description="With `submitcmd`: how long the archive may take to make a file ready.",
    )
    statcmd: StatCommand | None = Field(
        None,
        description="The command that asks the archive about one file (`{source}`, `{lfn}`) and prints "
        "its size and checksum as JSON. Without it sizes are learnt by staging; with a built-in `stagecmd` the "
        "file system is asked.",
    )
    listcmd: ListCommand | None = Field(
        None,
        description="The command that lists one directory of the archive (`{source}`, `{lfn}`) and prints a "
        "line of JSON for each entry. Without it only what is on disk is listed; with a built-in `stagecmd` "
        "the file system is asked. See `docs/stage-command.md`.",
    )
    storecmd: StoreCommand | None = Field(
        None,
        description="The command that stores one file that was written to a pool: a list of words, or "
        '`"builtin"` to copy to a mounted file system. `{source}` is the path in the pool, `{target}` the '
        "archive's name, `{lfn}` the logical name, `{size}` the size in bytes, `{checksum}` "
        "a checksum like `adler32:07a6c902`, nothing if none is known; a list without any of these gets "
        "path and archive's name as two more words. Without it files that are written stay in "
        "their pools, and are never purged. See `docs/writing.md`.",
    )
    removecmd: RemoveCommand | None = Field(
        None,
        description="The command that removes one file from the archive (`{source}`, the archive's name, "
        'and `{lfn}`), or `"builtin"` for a mounted file system; a list without any of these gets the archive\'s '
        "name as one more word. Without it clients can remove or replace nothing that is in the archive.",
    )
    migratable: list[Export] = Field(
        [],
        description="The directories whose files are stored in the archive when they were written. "
        "Default: all.",
    )
    notmigratable: list[Export] = Field(
        [],
        description="Directories whose files are not stored, though they lie in migratable ones; of "
        "two that lie in one another, the inner one decides. Their files stay in their "
        "pools until they are removed.",
    )
    store_delay: DurationS = Field(
        parse_duration("10m"),
        description="How long a file that was written is left alone before it is stored, so that one that is "
        "being written again and again is stored once.",
    )
    store_backoff: PositiveDuration = Field(
        parse_duration("1m"),
        description="The pause before a file that could not be stored is tried again; it doubles with "
        "each time. While the archive fails, one file tries for all.",
    )
    store_backoff_max: PositiveDuration = Field(
        parse_duration("1h"), description="The longest pause between two of these."
    )
    hintcmd: HintCommand | None = Field(
        None,
        description="The command that tells where files lie on tape, many at a time: it reads a line of JSON "
        'for each and prints a line with `volume` and `position`. `"statcmd"` if that tells them. With it, '
        "files of one tape are recalled together and in their order. See `docs/staging.md`.",
    )
    drives: PositiveCount = Field(
        4,
        description="How many tapes are read at a time, where it is known what lies on which: as many "
        "drives as Packhorse may keep busy.",
    )
    limit: Count = Field(
        0,
        description="How many recalls may run at a time at the whole site, whatever the data servers' "
        "`slots`; 0: any number.",
    )
    names: list[NameRuleConfig] = Field(
        min_length=1,
        description="Rules from LFNs to archive names: each has `archive`, and `prefix` or `regex`.",
    )
    deadline: PositiveDuration = Field(
        parse_duration("6h"),
        description="How long one stage command may run in all: longer than a tape waits in a "
        "busy library, shorter than a night.",
    )
    stall: PositiveDuration = Field(
        parse_duration("15m"),
        description="How long a stage command may run without its target growing before it counts "
        "as hung and is killed; mounting and seeking a tape must fit in.",
    )
    pass_environment: list[VariablePattern] = Field(
        list(PASSED_BY_DEFAULT),
        description="Which variables of the server's own environment its commands get, besides "
        "`PATH`, `LD_LIBRARY_PATH`, `HOME`, `USER`, `LOGNAME`, `LANG`, `LC_*`, `TZ`, `TMPDIR`; `AWS_*` "
        "stands for all that begin so.",
    )
    credential_files: FilesByVariable = Field(
        {},
        description="Files whose paths commands are told in these variables, as in "
        '`{ X509_USER_PROXY = "/run/proxy.pem" }`.',
    )
    credential_contents: FilesByVariable = Field(
        {},
        description="Files whose contents commands are told in these variables; they are read anew for each run. "
        "Prefer `credential_files` where the tool can read a file.",
    )
    output_limit: PositiveSize = Field(
        parse_size("64KB"),
        description="How much of a command's output is kept, from its end: enough for a reason, "
        "whatever it prints.",
    )

    @model_validator(mode="after")
    def _contract_can_be_kept(self) -> Self:
        if (self.submitcmd is None) != (self.pollcmd is None):
            raise ValueError("submitcmd and pollcmd go together: give both, or neither")
        if self.submitcmd is None and (self.cancelcmd or self.releasecmd):
            raise ValueError("cancelcmd and releasecmd need a submitcmd and a pollcmd")
        if self.contract == "batch":
            if isinstance(self.stagecmd, str):
                raise ValueError('contract = "batch" needs a stagecmd of the site\'s own')
            if check_template(self.stagecmd):
                raise ValueError(
                    'with contract = "batch", stagecmd is told the files on its standard input, '
                    "and can have no placeholders"
                )
        return self

    @model_validator(mode="after")
    def _credentials_are_clear(self) -> Self:
        both = self.credential_files.keys() & self.credential_contents.keys()
        if both:
            twice = ", ".join(sorted(both))
            raise ValueError(f"{twice}: in credential_files and in credential_contents; which?")
        return self

    @model_validator(mode="after")
    def _hints_can_be_had(self) -> Self:
        if self.hintcmd == "statcmd" and self.statcmd is None:
            raise ValueError('hintcmd is "statcmd", but there is no statcmd')
        return self

    def credentials(self) -> Credentials:
        """What commands are handed over."""
        return Credentials(self.credential_files, self.credential_contents)

    @model_validator(mode="after")
    def _directories_differ(self) -> Self:
        both = set(map(normalise_prefix, self.migratable)) & set(
            map(normalise_prefix, self.notmigratable)
        )
        if both:
            raise ValueError(f"{min(both)} is both migratable and notmigratable")
        return self

    def name_rules(self) -> list[NameRule]:
        """The rules at work, in the order written."""
        return [config.rule() for config in self.names]

    def prefixes(self) -> list[str]:
        """The directories that prefix rules cover: what the site exports by default."""
        return [config.prefix for config in self.names if config.prefix is not None]
