"""The fuzzer's targets on some thousands of inputs, the same ones in every run."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.targets import SEEDS, TARGETS

INPUTS = 2000


def changed(rng: random.Random, seed: bytes, others: list[bytes]) -> bytes:
    """Bytes that made sense, with some of them flipped, cut, doubled or taken from elsewhere."""
    said = bytearray(seed)
    for _ in range(rng.randint(0, 6)):
        at = rng.randint(0, len(said))
        match rng.randint(0, 5):
            case 0:
                said[at : at + 1] = rng.randbytes(1)
            case 1:
                said[at : at + 4] = rng.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", bytes(4)])
            case 2:
                del said[at : at + rng.randint(1, 8)]
            case 3:
                said[at:at] = rng.randbytes(rng.randint(1, 8))
            case 4:
                said[at:at] = said[at : at + rng.randint(1, 30)]
            case _:
                other = rng.choice(others)
                start = rng.randint(0, len(other))
                said[at:at] = other[start : start + 40]
    return bytes(said)


@pytest.mark.parametrize("name", TARGETS)
def test_seeds(name: str) -> None:
    for seed in SEEDS[name]:
        TARGETS[name](seed)


@pytest.mark.parametrize("name", TARGETS)
def test_random_bytes(name: str) -> None:
    rng = random.Random(2012)
    for _ in range(INPUTS):
        TARGETS[name](rng.randbytes(rng.randint(0, 100)))


@pytest.mark.parametrize("name", TARGETS)
def test_changed_seeds(name: str) -> None:
    rng = random.Random(1094)
    # Long ones take long, and what is in them is in short ones too.
    seeds = [seed for seed in SEEDS[name] if len(seed) < 2000]
    for _ in range(INPUTS):
        TARGETS[name](changed(rng, rng.choice(seeds), seeds))
