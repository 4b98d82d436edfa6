"""The one spelling of a name, for checks: as `common.names` had it before anybody touched it."""

from __future__ import annotations

from functools import cache

from common.names import normalise

canonical = cache(normalise)
