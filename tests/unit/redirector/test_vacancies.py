"""Names found free: remembered for a moment, and not without bound."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redirector.core.vacancies import VALID_S, Vacancies

if TYPE_CHECKING:
    import pytest


def test_a_name_is_free_once() -> None:
    vacancies = Vacancies()
    vacancies.note("/a", 1.0)
    assert vacancies.take("/a", 1.0 + VALID_S)
    assert not vacancies.take("/a", 1.0)
    assert not vacancies.take("/b", 1.0)


def test_old_notes_go_and_a_new_one_counts_anew() -> None:
    vacancies = Vacancies()
    vacancies.note("/a", 0.0)
    vacancies.note("/b", 1.0)
    vacancies.note("/a", VALID_S)
    vacancies.note("/c", VALID_S + 2.0)
    assert len(vacancies) == 2
    assert not vacancies.take("/b", 1.0)
    assert vacancies.take("/a", VALID_S + 2.0)


def test_only_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("redirector.core.vacancies.MOST_NOTES", 3)
    vacancies = Vacancies()
    for lfn in "abcd":
        vacancies.note(lfn, 0.0)
    assert len(vacancies) == 3
    assert not vacancies.take("a", 0.0)
    assert vacancies.take("d", 0.0)
