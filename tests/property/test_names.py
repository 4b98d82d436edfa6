"""One file has one name, whatever is thrown at the doors."""

from __future__ import annotations

from hypothesis import assume, example, given
from hypothesis import strategies as st

from common.directories import directory_of
from common.errors import NameRefused
from common.names import NameMap, NameRule, normalise, normalise_all

#: Texts that are near the rules: most generated ones would miss all of them.
nearly_names = st.lists(
    st.sampled_from(["/", "//", ".", "..", "a", "store", ".incoming", "%2F", "é", "\n", "\0"])
    | st.text(max_size=3),
    max_size=8,
).map(lambda parts: "/" + "".join(parts))
any_text = st.text() | nearly_names
components = st.text(st.characters(codec="utf-8", exclude_characters="/", exclude_categories=["C"]))
clean_names = (
    st.lists(
        components.filter(lambda part: part not in {"", ".", ".."} and len(part.encode()) <= 255),
        min_size=1,
        max_size=4,
    )
    .map(lambda parts: "/" + "/".join(parts))
    .filter(lambda name: not name.startswith(("/.incoming", "/.packhorse")))
)


def judged(lfn: str) -> str | None:
    try:
        return normalise(lfn)
    except NameRefused:
        return None


@given(any_text)
def test_what_is_accepted_is_safe_and_stays_as_it_is(lfn: str) -> None:
    name = judged(lfn)
    if name is None:
        return
    assert normalise(name) == name
    assert name.startswith("/")
    assert not name.endswith("/")
    assert not {"", ".", ".."} & set(name.split("/")[1:])
    assert "\n" not in name
    assert "\0" not in name
    assert len(name.encode()) <= 4096


@given(st.lists(any_text, max_size=6))
@example(["/a\n/b", "/c"])
@example(["/a\n", "b"])
def test_a_batch_is_judged_as_its_names_one_by_one(lfns: list[str]) -> None:
    alone = [judged(lfn) for lfn in lfns]
    try:
        together = list(normalise_all(lfns))
    except NameRefused:
        assert None in alone
    else:
        assert together == alone


@given(clean_names, st.lists(st.sampled_from(["/", "/./", "//"]), min_size=8, max_size=8))
def test_more_slashes_and_dots_make_no_other_name(name: str, joints: list[str]) -> None:
    parts = name.split("/")[1:]
    spelt = "".join(joint + part for joint, part in zip(joints, parts, strict=False))
    assert normalise(spelt) == name == normalise(spelt + joints[-1])


@given(clean_names)
def test_different_names_have_different_archive_names(name: str) -> None:
    names = NameMap([NameRule(prefix="/", archive="/archive")], exports=["/"])
    assert names.archive_name(name) == "/archive" + name


#: Rules over few letters, so that they often lie inside one another.
few_directories = st.lists(st.sampled_from("abc"), max_size=3).map(
    lambda parts: "/" + "".join(part + "/" for part in parts)
)
url_rules = st.builds(
    lambda prefix, host, directory: NameRule(prefix=prefix, archive=f"root://{host}/{directory}"),
    few_directories,
    st.sampled_from(["old", "new"]),
    few_directories,
)
few_names = st.lists(st.sampled_from("abcd"), min_size=1, max_size=5).map(
    lambda parts: "/" + "/".join(parts)
)


@given(clean_names, st.sampled_from(["/", "//", "", "///"]))
def test_the_archives_url_of_a_file_leads_back_to_it(name: str, slashes: str) -> None:
    rules = [
        NameRule(prefix="/", archive="root://old//store/"),
        NameRule(prefix="/a/store", archive="root://new//x"),
    ]
    names = NameMap(rules, exports=["/"])
    assert names.lfn_of(slashes + names.archive_name(name)) == name
    assert names.lfn_of(names.archive_name(name).replace("//", "/")) == name


@given(st.lists(url_rules, min_size=1, max_size=4), few_names)
def test_a_url_leads_to_a_name_of_the_same_file(rules: list[NameRule], name: str) -> None:
    names = NameMap(rules, exports=["/"])
    try:
        url = names.archive_name(name)
    except NameRefused:
        return
    # What a rule leads to is a directory of the archive, so no file can be called so.
    directories = {f"{rule.archive.rstrip('/')}/".replace("//", "/") for rule in rules}
    assume(f"{url}/".replace("//", "/") not in directories)
    found = names.lfn_of("/" + url)
    # Two rules may lead to one place; then a file has two names.
    assert found is not None
    assert names.archive_name(found).replace("//", "/") == url.replace("//", "/")


@given(st.lists(url_rules, max_size=4), few_directories, few_names)
def test_every_step_on_the_way_to_a_file_is_in_its_directory(
    rules: list[NameRule], export: str, name: str
) -> None:
    names = NameMap(rules, exports=[export])
    try:
        rule, archive_name = names.explain(name)
    except NameRefused:
        return
    parts = name.split("/")
    for depth in range(1, len(parts)):
        here = directory_of(names, "/".join(parts[:depth]) or "/")
        is_directory = depth < len(parts) - 1
        assert parts[depth] in here.children or here.has(parts[depth], is_directory=is_directory)
    parent = directory_of(names, name.rpartition("/")[0] or "/")
    # A name that is a directory by configuration cannot be a file as well.
    if parts[-1] not in parent.children:
        assert parent.rule is rule
        assert archive_name.rpartition("/")[0] == parent.archive_name.removesuffix("/")
