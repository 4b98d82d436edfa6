"""What others wrote is shown without surprises."""

from __future__ import annotations

from common.text import decode, one_line, printable


def test_letters_of_all_kinds_tabs_and_newlines_stay() -> None:
    assert printable("Z→µµ\t100 %\n東京 é") == "Z→µµ\t100 %\n東京 é"


def test_colours_titles_and_control_characters_go() -> None:
    coloured = "\x1b[31;1merror\x1b[0m: \x1b]0;title\x07no \x1b(Btape\x08\x00\x9b"
    assert printable(coloured) == "error: no tape"


def test_marks_that_turn_the_writing_go() -> None:
    assert printable("/store/\u202etoor.a\u2066") == "/store/toor.a"


def test_bytes_that_are_no_text_are_shown_as_numbers() -> None:
    assert decode(b"caf\xe9 \xc3\xa9 \xff\xfe") == "caf\\xe9 é \\xff\\xfe"


def test_a_progress_bars_rewritten_lines_are_lines() -> None:
    assert decode(b"10 %\r20 %\rdone\r\nok\n").splitlines() == ["10 %", "20 %", "done", "ok"]


def test_one_line_shows_newlines_as_they_are_typed() -> None:
    assert one_line("/a\n2026-01-01 INFO forged") == "/a\\n2026-01-01 INFO forged"
