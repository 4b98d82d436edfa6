"""From messages to the core's values and back.

What comes in is checked here, once: whatever passes has every field that is
needed, finite numbers, and sizes that fit into the database. What does not is
refused with a `UsageError` that names the field.
"""
