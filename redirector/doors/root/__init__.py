"""The redirector's root:// door: it holds no files, and knows where all of them are.

door        who comes in, and which part answers what
naming      names as clients write them, and what stands behind them
nearness    which client stands where
opening     opening files: sent to a holder, or called back when one is there
staging     the wait for a file that is in the archive only
looking     stat and locate
listing     directories, of all pools and the archive
entries     what lies in one directory, in order and a few names at a time
querying    questions: configuration, space, checksums
preparing   bulk staging, its state, eviction
changing    names and directories: made, moved and removed
"""

from redirector.doors.root.door import RootDoor

__all__ = ["RootDoor"]
