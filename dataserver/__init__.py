"""The disk node: one pool, its bytes, its purge, its stage commands."""
