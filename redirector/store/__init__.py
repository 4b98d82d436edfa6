"""What the redirector keeps on disk.

`schema` has the tables; `durable` writes what the head wants kept and `history`
reads it back; `datasets` keeps the datasets, which the head knows nothing of.
"""
