"""A crash after every effect of the main scenarios, by kill -9 and by a power cut."""

from __future__ import annotations

import pytest

from tests.simulation.sweep import SCENARIOS, Scenario, crash_after, effects_of

#: What has an effect in each scenario, so that no sweep is of less than it says.
HOSTS = {
    "recall": {"head", "disk0", "disk1"},
    "upload": {"head", "disk0", "disk1"},
    "storing": {"head", "disk0"},
    "replacement": {"head", "disk0"},
    "removal": {"disk0"},
    "purge": {"head", "disk0"},
    "eviction": {"head", "disk0"},
    "cancellation": {"head", "disk0", "disk1"},
    "session": {"head", "disk0", "disk1", "desk", "worker0", "worker1"},
}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
def test_a_crash_after_any_effect_breaks_no_promise(scenario: Scenario) -> None:
    effects = effects_of(scenario)
    assert {one.host for one in effects} == HOSTS[scenario.name]
    for number, effect in enumerate(effects):
        for power in (False, True):
            assert crash_after(scenario, number, power=power) == effect
    assert crash_after(scenario, len(effects), power=False) is None
