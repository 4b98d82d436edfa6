"""Asking data servers about many files: who is asked what, and what comes of it.

Names go out in batches, to all nodes concerned at once, and answers are passed
on as they come. A node that goes away or does not answer in time is no error
here: its files count as not answered, in the way each question says.
"""

from __future__ import annotations

from redirector.questions.archive import ArchiveListing, ArchiveQuestions
from redirector.questions.replicas import Description, Eviction, ReplicaQuestions
from redirector.questions.stores import StoreQuestions, Storing

__all__ = ["ArchiveListing", "Description", "Eviction", "Questions", "Storing"]


class Questions(ReplicaQuestions, ArchiveQuestions, StoreQuestions):
    """Asks the nodes that the head knows, over their links."""
