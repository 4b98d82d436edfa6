"""Names for what comes into being here: short enough to be typed, never given twice."""

from __future__ import annotations

import secrets


def new_request_id() -> str:
    """The id of a stage request."""
    return f"req-{secrets.token_hex(6)}"


def new_epoch() -> str:
    """The epoch of one life of the redirector."""
    return secrets.token_hex(6)
