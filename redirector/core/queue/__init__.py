"""The queue of recalls that wait for a node, and whose turn it is.

`shares` has who is counted together and what each has had; `lanes` and `volumes`
have where recalls stand; `limits` has what may run at a time; `queue` puts them
together and, by `one_pass`, proposes the next recall; `words` says why one waits.
"""

from redirector.core.queue.limits import ArchiveLimit, Limits
from redirector.core.queue.queue import RecallQueue
from redirector.core.queue.shares import ShareKey, Weights
from redirector.core.queue.words import whose_turn, why_it_waits

__all__ = [
    "ArchiveLimit",
    "Limits",
    "RecallQueue",
    "ShareKey",
    "Weights",
    "whose_turn",
    "why_it_waits",
]
