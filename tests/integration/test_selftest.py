"""What is right and wrong with a site's commands is found out before they go live."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from common.config.mss import MssConfig
from common.names import NameMap
from dataserver.selftest import Bench, Finding, Verdict, bench, check_commands, kinds_of
from packhorse.cli.main import main
from packhorse.scripts import find_kind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MOUNTED = [sys.executable, "-S", str(find_kind("mounted").path)]
STAT = [*MOUNTED, "stat", "{source}"]
LIST = [*MOUNTED, "list", "{source}"]
LFN = "/store/run 7/a.root"
CONTENT = b"what the detector saw\n" * 100
OK, WARNING, FAILED, SKIPPED = Verdict.OK, Verdict.WARNING, Verdict.FAILED, Verdict.SKIPPED

#: A stage command that does everything well, and takes long enough to be stopped on its way.
GOOD = """
[ -e "$1" ] || { echo "no such file: $1" >&2; exit 66; }
cp "$1" "$2"; sleep 0.1
"""
#: A statcmd that does everything well.
GOOD_STAT = """
[ -e "$1" ] || { echo "no such file: $1" >&2; exit 66; }
[ -d "$1" ] && { echo '{"type": "dir"}'; exit; }
printf '{"size": %d, "checksum": "adler32:%s"}' "$(stat -c %s "$1")" "$(cat "$1.adler32")"
"""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    store = tmp_path / "archive" / "store"
    (store / "run 7").mkdir(parents=True)
    (store / "run 7" / "a.root").write_bytes(CONTENT)
    (store / "run 7" / "b.root").write_bytes(CONTENT)
    for name in "ab":
        # What zlib.adler32 makes of the content.
        (store / "run 7" / f"{name}.root.adler32").write_text("c2f921be")
    return store


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., str]:
    def write(text: str, name: str = "script.sh") -> str:
        path = tmp_path / name
        path.write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return str(path)

    return write


async def checked(
    store: Path, keys: Mapping[str, object], *kinds: str, lfns: tuple[str, ...] = (LFN,)
) -> dict[tuple[str, str, str], Finding]:
    """The findings, by kind, file and check; nothing of the commands is left."""
    names = [{"prefix": "/store", "archive": str(store)}]
    config = MssConfig.model_validate({"names": names, **keys})
    name_map = NameMap(config.name_rules(), ["/store/"])
    (store.parents[1] / "pool").mkdir(exist_ok=True)
    tried = Bench(config, name_map, store.parents[1] / "pool", patience_s=10.0)
    found: dict[tuple[str, str, str], Finding] = {}
    async with tried:
        async for one in check_commands(tried, lfns, kinds or kinds_of(config)):
            assert (one.kind, one.lfn, one.check) not in found
            assert "\n" not in one.said + one.advice
            assert one.said
            assert bool(one.advice) or one.verdict in {OK, SKIPPED}
            found[one.kind, one.lfn, one.check] = one
    assert list((store.parents[1] / "pool").iterdir()) == []
    assert psutil.Process().children(recursive=True) == []
    return found


def verdicts(found: Mapping[tuple[str, str, str], Finding], kind: str) -> dict[str, Verdict]:
    return {check: one.verdict for (its, _, check), one in found.items() if its == kind}


def troubles(found: Mapping[tuple[str, str, str], Finding]) -> dict[str, tuple[Verdict, str]]:
    """The checks that did not go well."""
    bad = {WARNING, FAILED}
    return {
        check: (one.verdict, one.said) for (_, _, check), one in found.items() if one.verdict in bad
    }


# --- one file a run -------------------------------------------------------------


async def test_nothing_is_wrong_with_good_commands(store: Path, script: Callable[..., str]) -> None:
    keys = {
        "stagecmd": [script(f"echo 'progress: mounts'\n{GOOD}"), "{source}", "{target}"],
        "statcmd": [script(GOOD_STAT, "stat.sh"), "{source}"],
        "listcmd": LIST,
    }
    found = await checked(store, keys)
    assert troubles(found) == {}
    assert {one.verdict for one in found.values()} == {OK}
    assert verdicts(found, "stage").keys() == {
        "brings the file",
        "size agrees",
        "checksum agrees",
        "writes only to its target",
        "leaves no process",
        "tells its progress",
        "says when there is no such file",
        "says what went wrong",
        "ends when it is told to (SIGTERM)",
    }
    assert len(verdicts(found, "stat")) == 4
    assert len(verdicts(found, "list")) == 4


@pytest.mark.parametrize(
    ("text", "check", "verdict", "said"),
    [
        ("exit 0", "brings the file", FAILED, "left no file"),
        ('ln -s "$1" "$2"', "brings the file", FAILED, "left a link"),
        ("echo no drive >&2; exit 75", "brings the file", FAILED, "no drive"),
        ('head -c 7 "$1" > "$2"', "size agrees", FAILED, "7 bytes were brought"),
        ('tr a b < "$1" > "$2"', "checksum agrees", FAILED, "the archive says adler32:c2f921be"),
        ('cp "$1" "$2"; touch "$2.log"', "writes only to its target", WARNING, "a.root.log beside"),
        ('cp "$1" "$2"; touch ../x.log', "writes only to its target", FAILED, "it made x.log"),
        ('cp "$1" "$2"; touch "$2"', "says when there is no such file", FAILED, "it ended well"),
        ('cp "$1" "$2"', "says when there is no such file", WARNING, "(transient)"),
        ('cp "$1" "$2" || exit 30', "says when there is no such file", WARNING, "(permanent)"),
        ('cp "$1" "$2" 2>/dev/null', "says what went wrong", WARNING, "it said nothing"),
    ],
)
async def test_what_is_wrong_with_a_stage_command_is_found(
    store: Path, script: Callable[..., str], text: str, check: str, verdict: Verdict, said: str
) -> None:
    keys = {
        "stagecmd": [script(text), "{source}", "{target}"],
        "statcmd": [script(GOOD_STAT, "stat.sh"), "{source}"],
    }
    found = await checked(store, keys, "stage")
    one = found["stage", LFN, check]
    assert one.verdict is verdict, one
    assert said in one.said


async def test_a_command_that_does_not_end_is_found(
    store: Path, script: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "GRACE_S", 0.2)
    loop = "i=0; while [ $i -lt 60 ]; do sleep 0.01; i=$((i+1)); done"
    keys = {"stagecmd": [script(f'trap "" TERM; cp "$1" "$2"; {loop}'), "{source}", "{target}"]}
    found = await checked(store, keys, "stage")
    one = found["stage", LFN, "ends when it is told to (SIGTERM)"]
    assert one.verdict is FAILED
    assert "it ignored SIGTERM" in one.said


async def test_processes_that_stay_are_found(store: Path, script: Callable[..., str]) -> None:
    text = 'cp "$1" "$2"; setsid sleep 600 >/dev/null 2>&1 & sleep 0.2'
    found = await checked(store, {"stagecmd": [script(text), "{source}", "{target}"]}, "stage")
    assert found["stage", LFN, "leaves no process"].verdict is WARNING


async def test_what_cannot_be_run_is_told(store: Path) -> None:
    found = await checked(store, {"stagecmd": ["/no/such/program", "{source}", "{target}"]})
    one = found["stage", LFN, "brings the file"]
    assert one.verdict is FAILED
    assert "/no/such/program" in one.said
    assert "executable" in one.advice


async def test_a_mounted_archive_is_tried_as_well(store: Path) -> None:
    found = await checked(store, {"stagecmd": "builtin"})
    assert {kind for kind, _, _ in found} == {"stat", "list", "stage"}
    assert troubles(found).keys() == {"knows its checksum"}
    found = await checked(store, {"stagecmd": "builtin"}, lfns=("/store/run 7/none",))
    assert found["stage", "/store/run 7/none", "brings the file"].verdict is FAILED
    assert found["stat", "/store/run 7/none", "knows the file"].verdict is FAILED


@pytest.mark.parametrize("regex", [r"/store/(.*\.root)", r"/store/(run \d+/a\d\d\d)"])
async def test_names_may_be_strict(store: Path, regex: str) -> None:
    (store / "run 7" / "a017").write_bytes(CONTENT)
    lfn = LFN if "root" in regex else "/store/run 7/a017"
    names = [{"regex": regex, "archive": f"{store}/\\1"}]
    found = await checked(store, {"stagecmd": "builtin", "names": names}, "stage", lfns=(lfn,))
    assert found["stage", lfn, "brings the file"].verdict is OK
    assert found["stage", lfn, "says when there is no such file"].verdict is OK


# --- asking -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "check", "verdict"),
    [
        ("echo '{}'", "knows the file", WARNING),
        ("echo 7", "knows the file", FAILED),
        ("""echo '{"size": "7 kB"}'""", "knows the file", FAILED),
        ("exit 1", "knows the file", FAILED),
        ("""echo '{"size": 7}'""", "knows its checksum", WARNING),
        ("""echo '{"size": 7}'""", "says when there is no such file", FAILED),
        ("""echo '{"size": 7}'""", "takes no directory for a file", FAILED),
        ("""[ -e "$1" ] && echo '{"size": 7}'""", "says when there is no such file", FAILED),
    ],
)
async def test_what_is_wrong_with_a_statcmd_is_found(
    store: Path, script: Callable[..., str], text: str, check: str, verdict: Verdict
) -> None:
    keys = {"stagecmd": ["cp", "{source}", "{target}"], "statcmd": [script(text), "{source}"]}
    found = await checked(store, keys, "stat")
    assert found["stat", LFN, check].verdict is verdict


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("exit 1", "lists the file's directory"),
        ("ls", "lists the file's directory"),
        ("exit 0", "has the file in it"),
        ("""echo '{"name": "a.root", "type": "dir"}'""", "has the file in it"),
        ("""echo '{"name": "a.root", "size": 7}'""", "tells the size that statcmd tells"),
        ("""echo '{"name": "a.root"}'""", "says when there is no such directory"),
    ],
)
async def test_what_is_wrong_with_a_listcmd_is_found(
    store: Path, script: Callable[..., str], text: str, check: str
) -> None:
    keys = {"stagecmd": "builtin", "statcmd": STAT, "listcmd": [script(text), "{source}"]}
    found = await checked(store, keys, "list")
    assert found["list", LFN, check].verdict is FAILED


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ('{"lfn": one["lfn"], "volume": "VOL1", "position": 7}', OK),
        ('{"lfn": "/store/other", "volume": "VOL1", "position": 7}', WARNING),
        ('{"lfn": one["lfn"], "volume": 7}', FAILED),
        ('""', FAILED),
    ],
)
async def test_what_is_wrong_with_a_hintcmd_is_found(
    store: Path, script: Callable[..., str], answer: str, verdict: Verdict
) -> None:
    text = f"""#!{sys.executable} -S
import json, sys
for one in map(json.loads, sys.stdin):
    print(json.dumps({answer}))
"""
    found = await checked(store, {"stagecmd": "builtin", "hintcmd": [script(text)]}, "hint")
    assert found["hint", LFN, "tells where the file lies"].verdict is verdict
    silent = await checked(store, {"stagecmd": "builtin", "hintcmd": ["true"]}, "hint")
    assert silent["hint", LFN, "tells where the file lies"].verdict is WARNING


# --- batches ------------------------------------------------------------------------

BATCH = """#!{python} -S
import json, os, shutil, sys, time
def say(**words):
    print(json.dumps(words), flush=True)
for line in sys.stdin:
    file = json.loads(line)
    key, source, target = file["id"], file["source"], file["target"]
    {body}
time.sleep(0.1)
"""
GOOD_BATCH = """
    say(id=key, state="started")
    if os.path.exists(source):
        shutil.copyfile(source, target)
        say(id=key, state="done")
    else:
        say(id=key, state="failed", reason="no such file", error="not found")
"""


@pytest.mark.parametrize(
    ("body", "trouble"),
    [
        (GOOD_BATCH, {}),
        ("pass", {"brings the file", "says when there is no such file"}),
        (
            "say(id=key, state='done')",
            {
                "brings the file",
                "says when there is no such file",
                "says when it begins with a file",
            },
        ),
        (
            GOOD_BATCH.replace('say(id=key, state="started")', "pass"),
            {"says when it begins with a file"},
        ),
        (
            GOOD_BATCH.replace('error="not found"', 'error="permanent"'),
            {"says when there is no such file"},
        ),
        (GOOD_BATCH + "    say(id=key, state='done')", {"keeps to the words of the contract"}),
        (GOOD_BATCH + "    say(id='x', state='done')", {"keeps to the words of the contract"}),
        (GOOD_BATCH + "    say(id=key, state='ready')", {"keeps to the words of the contract"}),
        (GOOD_BATCH + "    if key == '3': sys.exit(1)", {"ends well when all files are over"}),
        (
            GOOD_BATCH.replace(
                'say(id=key, state="done"', 'os.utime(target, (0, 0)); say(id=key, state="done"'
            ),
            {"says so at once"},
        ),
    ],
)
async def test_what_is_wrong_with_a_batch_command_is_found(
    store: Path, script: Callable[..., str], body: str, trouble: set[str]
) -> None:
    text = BATCH.replace("{python}", sys.executable).replace("{body}", body.strip())
    keys = {"stagecmd": [script(text)], "contract": "batch", "statcmd": STAT}
    found = await checked(store, keys, "stage", lfns=(LFN, "/store/run 7/b.root"))
    assert troubles(found).keys() == set(trouble)
    stops = found["stage", "", "ends when it is told to (SIGTERM)"]
    assert stops.verdict in ({OK} if body == GOOD_BATCH else {OK, SKIPPED})


async def test_a_batch_command_that_listens_is_tried_with_its_input_open(
    store: Path, script: Callable[..., str]
) -> None:
    body = GOOD_BATCH.replace(
        "    if", "    if file.get('state') == 'cancelled': continue\n    if", 1
    )
    text = BATCH.replace("{python}", sys.executable).replace("{body}", body.strip())
    keys = {"stagecmd": [script(text)], "contract": "batch", "batch_cancel": True, "statcmd": STAT}
    assert troubles(await checked(store, keys, "stage")) == {}


# --- orders ---------------------------------------------------------------------------

ORDERS = """#!{python} -S
import json, sys
from pathlib import Path
home, verb = Path(sys.argv[1]), sys.argv[2]
for line in sys.stdin:
    file = json.loads(line)
    answer = {"key": file["key"]}
    if verb == "submit":
        answer["id"] = "req-" + file["key"]
        (home / answer["id"]).write_text(file["source"])
    elif verb == "poll":
        order = home / file["id"]
        if not order.exists():
            answer["state"] = "unknown"
        elif not Path(order.read_text()).exists():
            answer.update(state="failed", reason="no such file", error="not found")
        else:
            seen = order.with_suffix(".seen")
            answer["state"] = "ready" if seen.exists() else "waiting"
            seen.touch()
    else:
        (home / file["id"]).unlink(missing_ok=True)
    print(json.dumps(answer))
"""


def orders(tmp_path: Path, script: Callable[..., str], text: str = ORDERS) -> dict[str, object]:
    (tmp_path / "home").mkdir()
    run = [script(text.replace("{python}", sys.executable), "orders.py"), str(tmp_path / "home")]
    verbs = ("submit", "poll", "cancel", "release")
    return {f"{verb}cmd": [*run, verb] for verb in verbs} | {"poll": "10ms"}


async def test_good_commands_for_orders_are_fine(
    store: Path, tmp_path: Path, script: Callable[..., str]
) -> None:
    keys = {"stagecmd": "builtin", **orders(tmp_path, script)}
    found = await checked(store, keys, "submit", "stage")
    assert troubles(found) == {}
    assert "2 polls" in found["poll", LFN, "says how it stands"].said
    assert found["release", LFN, "gives it back"].verdict is OK
    assert found["stage", LFN, "brings the file"].verdict is OK
    # All that was ordered was given back or called off.
    assert [path.suffix for path in (tmp_path / "home").iterdir()] == [".seen"]


@pytest.mark.parametrize(
    ("good", "bad", "where"),
    [
        ('answer["id"] = "req-"', 'answer["id"] = "" and ""', {"takes an order": FAILED}),
        ('"submit":', '"submit":\n        sys.exit(78)', {"takes an order": FAILED}),
        ('else "waiting"', 'else "soon"', {"says how it stands": FAILED}),
        ('"ready" if seen.exists() else "waiting"', '"unknown"', {"says how it stands": FAILED}),
        (".unlink(missing_ok=True)", ".unlink()", {"may be told twice": FAILED}),
        ("(home / file", "sys.exit(1); (home / file", {"calls an order off": FAILED}),
        (
            "elif not Path(order.read_text()).exists()",
            "elif False",
            {"says when there is no such file": WARNING},
        ),
    ],
)
async def test_what_is_wrong_with_commands_for_orders_is_found(
    store: Path,
    tmp_path: Path,
    script: Callable[..., str],
    good: str,
    bad: str,
    where: dict[str, Verdict],
) -> None:
    assert ORDERS.count(good) == 1
    keys = {"stagecmd": "builtin", **orders(tmp_path, script, ORDERS.replace(good, bad))}
    found = await checked(store, keys, "submit", "stage")
    told = {check: one.verdict for (kind, _, check), one in found.items() if kind != "stage"}
    for check, verdict in where.items():
        assert told[check] is verdict


async def test_patience_has_an_end(store: Path, tmp_path: Path, script: Callable[..., str]) -> None:
    never = ORDERS.replace('"ready" if seen.exists() else', "")
    keys = {"stagecmd": "builtin", **orders(tmp_path, script, never), "poll": "5s"}
    names = [{"prefix": "/store", "archive": str(store)}]
    config = MssConfig.model_validate({"names": names, **keys})
    name_map = NameMap(config.name_rules(), ["/store/"])
    async with Bench(config, name_map, tmp_path, patience_s=1.0) as tried:
        found = [one async for one in check_commands(tried, [LFN], ["stage"])]
    told = {(one.kind, one.check): one for one in found}
    assert told["poll", "says how it stands"].verdict is SKIPPED
    assert told["stage", "brings the file"].verdict is SKIPPED
    # It was called off.
    assert [path.suffix for path in (tmp_path / "home").iterdir()] == [".seen"]


# --- storing ----------------------------------------------------------------------------


async def test_storing_is_tried_only_when_asked_for(
    store: Path, script: Callable[..., str]
) -> None:
    before = sorted(path.name for path in (store / "run 7").iterdir())
    words = ["{source}", "{target}"]
    removes = '[ -e "$1" ] || { echo "no such file" >&2; exit 66; }; rm "$1"'
    keys = {
        "stagecmd": ["cp", "{source}", "{target}"],
        "statcmd": STAT,
        "storecmd": ["cp", "{source}", "{target}"],
        "removecmd": [script(removes), "{source}"],
    }
    assert not {kind for kind, _, _ in await checked(store, keys)} & {"store", "remove"}
    found = await checked(store, keys, "store")
    assert len(found) == 7
    assert troubles(found) == {}
    assert sorted(path.name for path in (store / "run 7").iterdir()) == before
    found = await checked(
        store, {**keys, "storecmd": ["sh", "-c", 'touch "$2"', "sh", *words]}, "store"
    )
    assert troubles(found).keys() == {"is known to the archive then", "comes back as it was"}
    found = await checked(store, {**keys, "removecmd": ["true", "{source}"]}, "store")
    assert troubles(found).keys() == {"is gone from the archive then"}


# --- the command --------------------------------------------------------------------------


def run(tmp_path: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "packhorse", "check-command", *words],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PACKHORSE_CONFIG": str(tmp_path / "site.toml"), **env},
    )


def test_the_command_tells_line_by_line_and_ends_with_a_code(
    store: Path, tmp_path: Path, script: Callable[..., str]
) -> None:
    (tmp_path / "pool" / ".incoming").mkdir(parents=True)
    told = script('pwd >>"$3"; echo "$TOKEN" >>"$3"; cp "$1" "$2"')
    (tmp_path / "token").write_text("secret\n")
    (tmp_path / "site.toml").write_text(f"""
[mss]
stagecmd = ["{told}", "{{source}}", "{{target}}", "{tmp_path}/told"]
statcmd = {json.dumps(STAT)}
credential_contents = {{ TOKEN = "{tmp_path}/token" }}
names = [{{ prefix = "/store/", archive = "{store}/" }}]
[redirector]
state = "{tmp_path}/redirector"
[dataserver.disk1]
pool = "{tmp_path}/pool"
quota = "1GB"
""")
    good = run(tmp_path, LFN)
    assert good.returncode == 0, good.stderr
    assert f"ok       stage: {LFN}: brings the file: " in good.stdout
    assert "TOKEN" in good.stdout
    assert "secret" not in good.stdout
    assert good.stdout.splitlines()[-1].endswith("none failed, 1 warning")
    # It ran where a recall's command does, and as one does.
    where, token, *_ = (tmp_path / "told").read_text().splitlines()
    assert Path(where).parents[1] == tmp_path / "pool" / ".incoming"
    assert token == "secret"
    assert list((tmp_path / "pool" / ".incoming").iterdir()) == []
    Path(told).chmod(stat.S_IREAD)
    bad = run(tmp_path, LFN, "--json", "--kind", "stage")
    assert bad.returncode == 18
    assert bad.stderr.startswith("packhorse: error: ")
    found = json.loads(bad.stdout)
    assert found["directory"] == f"{tmp_path}/pool/.incoming"
    assert "TOKEN" in found["variables"]
    assert [one["check"] for one in found["findings"] if one["verdict"] == "failed"] != []


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["/store/a", "--kind", "odd"], 2, "--kind odd is none of stat, list"),
        (["/elsewhere/a"], 4, "/elsewhere/a"),
        (["/store/a", "--name", "disk9"], 3, "no data server"),
        (["/store/a", "--directory", "/no/such/place"], 3, "commands cannot be tried there"),
        ([], 2, "LFN"),
    ],
)
def test_what_makes_no_sense_is_said_in_a_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    said: str,
) -> None:
    monkeypatch.setenv("PACKHORSE_CONFIG", str(tmp_path / "site.toml"))
    (tmp_path / "site.toml").write_text("""
[mss]
stagecmd = "builtin"
names = [{ prefix = "/store/", archive = "/archive/" }]
""")
    assert main(["check-command", *words]) == code
    told = capsys.readouterr().err
    assert said in told
    assert len(told.splitlines()) == 1
