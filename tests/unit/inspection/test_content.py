from __future__ import annotations

import pytest

from dataserver.inspection.content import Content, Format, Table, decode, encode
from dataserver.inspection.problem import in_one_line


def test_content_survives_the_pipe_as_one_line() -> None:
    content = Content(
        Format.ROOT,
        (Table("dir/événements", 1 << 40, (5, 1 << 40)), Table("new\nline", 0)),
        "ec0764ae-e810-45ff-821d-5d44334f3bbb",
        'a "problem"\nof two lines',
    )
    line = encode(content)
    assert line.count(b"\n") == 1
    assert decode(line) == content


@pytest.mark.parametrize("line", [b"", b"hello\n", b"[]\n", b"{}\n", b'{"format": "gif"}\n'])
def test_what_is_not_an_answer_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        decode(line)


def test_a_problem_is_one_short_line() -> None:
    assert in_one_line(KeyError()) == "KeyError"
    assert (
        in_one_line(ValueError("\n\n  while reading\n\n    TTree")) == "ValueError: while reading"
    )
    assert len(in_one_line(ValueError("x" * 5000))) == 300
    assert in_one_line(ValueError("bad \x1b[31mname \udcff")) == "ValueError: bad name \\udcff"
