"""What a simulation ends with when a promise is broken."""

from __future__ import annotations


class PromiseBroken(AssertionError):
    """A promise of the design does not hold: its `number`, and how it is seen."""

    def __init__(self, number: int, how: str, about: str = "") -> None:
        super().__init__(f"promise {number} is broken: {how}")
        self.number = number
        #: The name of the file, node or request it is about; "" if it is about all.
        self.about = about
