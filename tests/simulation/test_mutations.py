"""The checks bite: every fault that is put into the cores is found, as what it is."""

from __future__ import annotations

import pytest

from tests.simulation import promises
from tests.simulation.broken import PromiseBroken
from tests.simulation.laboratory import Failed, play
from tests.simulation.mutations import MUTATIONS, Mutation

#: So many seeds find any of them.
SEEDS = 60


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.name)
def test_a_mutation_is_caught(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    # The cores' own checks would find some of them sooner; those of the promises are to.
    monkeypatch.setattr(promises, "CORES_EVERY", 1 << 60)
    mutation.apply(monkeypatch)
    others: list[str] = []
    for seed in range(SEEDS):
        try:
            play(seed)
        except Failed as failed:
            error = failed.error
            assert isinstance(error, PromiseBroken), repr(error)
            if error.number == mutation.promise:
                return
            # A fault may break other promises as well, and which one shows first is chance.
            others.append(str(error))
    pytest.fail(f"not caught as what it is by {SEEDS} seeds, but as {others}")


def test_every_promise_has_a_mutation() -> None:
    numbers = [promise.number for promise in promises.PROMISES]
    assert numbers == list(range(1, 13))
    assert {one.promise for one in MUTATIONS} == set(numbers)
