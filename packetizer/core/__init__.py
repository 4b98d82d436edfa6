"""The packetizer's decisions, with no world around them.

A `Desk` takes events and the time and returns instructions. What lives where,
from the ground up:

- `ranges`, `ledger`: which entries of a file are free, leased, set aside,
  committed or bad. Every entry is in exactly one of these, always.
- `plan`: what a file's content says about where it may be cut.
- `files`, `leases`, `workers`, `nodes`: the things a session deals with.
- `shelves`: the free work of a session, by the data server that holds it.
- `where`, `how_much`, `window`: the policies. Which file for this worker, how
  much of it, and which files to stage next. Each can be replaced alone.
- `books`: the files of a session and what became of them; `intake`: files come
  and go; `handout`: packets are leased, and fail; `commits`: their results count.
- `session`: the four together, and the moves of a session's state.
- `serving`: which worker is served next, and by which session.
- `desk`: all sessions and all workers.
"""
