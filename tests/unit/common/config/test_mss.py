"""What `[mss]` says of commands and credentials must make sense, or is told with its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from common.config.load import load
from common.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from common.config.mss import MssConfig

SITE = """[mss]
names = [{ prefix = "/store/", archive = "/archive/store/" }]
"""
ORDERS = 'submitcmd = ["s"]\npollcmd = ["p"]\n'


def mss(tmp_path: Path, keys: str) -> MssConfig:
    path = tmp_path / "site.toml"
    path.write_text(f"{SITE}{keys}")
    found = load(path, {}).site.mss
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ('contract = "batch"', 'contract = "batch" needs a stagecmd of the site\'s own'),
        (
            'contract = "batch"\nstagecmd = ["x", "{source}", "{target}"]',
            "is told the files on its standard input, and can have no placeholders",
        ),
        ('contract = "odd"', "\"odd\" is not one of 'blocking' or 'batch'"),
        ('submitcmd = ["s"]', "submitcmd and pollcmd go together"),
        ('pollcmd = ["p"]', "submitcmd and pollcmd go together"),
        ('cancelcmd = ["c"]', "need a submitcmd and a pollcmd"),
        ('releasecmd = ["r"]', "need a submitcmd and a pollcmd"),
        (f'{ORDERS}cancelcmd = ["c", "{{source}}"]', "which request is it about?"),
        ('submitcmd = ["s", "{size}"]\npollcmd = ["p"]', "which file is it about?"),
        ('submitcmd = ["s", "{target}"]\npollcmd = ["p"]', "unknown placeholder {target}"),
        ('pass_environment = ["AWS PROFILE"]', "is no variable's name"),
        ('pass_environment = ["*"]', "is no variable's name"),
        ('credential_files = { TOKEN = "token" }', "not an absolute path"),
        ('credential_files = { "TO KEN" = "/token" }', "no environment variable's name"),
        ('credential_contents = { PACKHORSE_X = "/token" }', "PACKHORSE_X is Packhorse's own"),
        (
            'credential_files = { T = "/t" }\ncredential_contents = { T = "/t" }',
            "T: in credential_files and in credential_contents; which?",
        ),
    ],
)
def test_what_cannot_be_is_told(tmp_path: Path, keys: str, complaint: str) -> None:
    if "stagecmd" not in keys:
        keys = f'stagecmd = "builtin"\n{keys}'
    with pytest.raises(ConfigError) as refused:
        mss(tmp_path, keys)
    told = str(refused.value)
    assert "site.toml" in told
    assert complaint in told


def test_commands_for_orders_are_told_of_one_file_or_of_many(tmp_path: Path) -> None:
    found = mss(
        tmp_path,
        'stagecmd = "builtin"\nsubmitcmd = ["s", "{source}"]\npollcmd = ["p", "{id}"]\n'
        'cancelcmd = ["c"]\ncredential_files = { TOKEN = "/run/token" }\n'
        'pass_environment = ["AWS_*"]',
    )
    assert found.pollcmd == ["p", "{id}"]
    assert found.releasecmd is None
    assert [str(path) for path in found.credentials().paths.values()] == ["/run/token"]
    assert found.pass_environment == ["AWS_*"]
