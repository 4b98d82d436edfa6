"""The life of one upload: the table of its moves."""

from __future__ import annotations

import pytest

from common.story import IllegalMove
from dataserver.core.events import UploadBegun
from dataserver.core.upload import MOVES, Upload, UploadState

ENDS = {UploadState.DONE, UploadState.ENDED}


def make_upload() -> Upload:
    return Upload(UploadBegun("u1", "/a", owner="ann"), 0, 100.0)


def test_an_upload_goes_all_the_way() -> None:
    upload = make_upload()
    upload.move("claimed", 101.0)
    upload.move("reserved", 101.0, "16 MB")
    upload.check()
    upload.size_bytes = 5
    upload.move("written", 102.0)
    upload.check()
    upload.move("published", 103.0)
    assert upload.state is UploadState.DONE
    assert "upload u1 of /a for ann begun" in str(upload.story)
    assert "reserved → writing: 16 MB" in str(upload.story)


def test_a_move_the_table_does_not_have_carries_the_story() -> None:
    upload = make_upload()
    with pytest.raises(IllegalMove, match="no move for 'written' in state 'claiming'") as caught:
        upload.move("written", 101.0)
    assert "upload u1 of /a for ann begun" in str(caught.value)


def test_every_state_can_be_reached_and_every_live_one_can_come_to_nothing() -> None:
    assert {UploadState.CLAIMING} | set(MOVES.values()) == set(UploadState)
    live = set(UploadState) - ENDS - {UploadState.ENDING}
    assert {before for before, event in MOVES if event == "end"} == live
    assert all(before not in ENDS for before, _ in MOVES)
    assert MOVES[UploadState.ENDING, "gone"] is UploadState.ENDED
