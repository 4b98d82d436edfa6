"""The cost of a node: what a new recall would wait for there."""

from __future__ import annotations

import pytest

from redirector.core.choice import Candidate, Weights, cost_of, order

WEIGHTS = Weights(start_s=1.0, full_pool_s=10.0)
IDLE = Candidate(
    node="idle",
    bytes_left=0,
    staging_rate=100.0,
    cpu_percent=0.0,
    io_wait_percent=0.0,
    used_bytes=0,
    promised_bytes=0,
    quota_bytes=1_000,
    slots_free=4,
)


def best(*candidates: Candidate) -> str:
    return min((cost_of(one, WEIGHTS) for one in candidates), key=order).node


def test_the_cost_is_the_sum_of_its_written_parts() -> None:
    candidate = IDLE._replace(
        bytes_left=400, cpu_percent=50.0, io_wait_percent=25.0, used_bytes=300, promised_bytes=200
    )
    cost = cost_of(candidate, WEIGHTS)
    assert cost.wait_s == 400 / 100 + 1
    assert cost.load == 1.75
    assert cost.fullness == 0.5
    assert cost.cost_s == pytest.approx(5 * 1.75 + 0.5 * 10)
    assert cost.free_bytes == 500
    assert str(cost) == "idle costs 13.75 s (5.00 s of staging x 1.75 load, 50% full)"


@pytest.mark.parametrize(
    "worse",
    [
        {"bytes_left": 100},
        {"cpu_percent": 10.0},
        {"io_wait_percent": 10.0},
        {"used_bytes": 100},
        {"promised_bytes": 100},
    ],
)
def test_whatever_burdens_a_node_makes_it_worse(worse: dict[str, float]) -> None:
    burdened = IDLE._replace(node="a-burdened", **worse)  # type: ignore[arg-type]
    assert best(burdened, IDLE) == "idle"


def test_a_faster_node_may_have_more_to_do() -> None:
    fast = IDLE._replace(node="fast", bytes_left=1_000, staging_rate=1_000.0)
    slow = IDLE._replace(node="slow", bytes_left=300, staging_rate=100.0)
    assert best(slow, fast) == "fast"


def test_a_node_with_a_free_slot_goes_before_a_cheaper_one_without() -> None:
    dear = IDLE._replace(node="dear", bytes_left=10_000)
    taken = IDLE._replace(node="taken", slots_free=0)
    assert best(taken, dear) == "dear"
    assert "no slot free" in str(cost_of(taken, WEIGHTS))


def test_equal_costs_go_to_the_most_free_space_and_then_to_the_first_name() -> None:
    large = IDLE._replace(node="large", quota_bytes=9_000)
    other = IDLE._replace(node="another")
    assert best(IDLE, large) == "large"
    assert best(IDLE, other) == "another"


def test_a_pool_without_quota_counts_as_full() -> None:
    assert cost_of(IDLE._replace(quota_bytes=0), WEIGHTS).fullness == 1.0
