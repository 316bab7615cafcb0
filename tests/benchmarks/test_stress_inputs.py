"""The short form of benchmarks/stress_inputs.py."""

import numpy as np
import pytest
import stress_inputs

pytestmark = pytest.mark.system


def test_every_mutated_input_has_its_row():
    outcomes = stress_inputs.stress(80, seed=20)
    assert sum(outcomes.values()) == 80
    assert 0 < outcomes["stored"] < 80


def test_mutations_change_and_can_be_repeated():
    data = bytes(range(256)) * 10
    changed = [stress_inputs.mutate(data, np.random.default_rng(seed)) for seed in range(50)]
    assert changed == [stress_inputs.mutate(data, np.random.default_rng(seed)) for seed in range(50)]
    assert len(set(changed) - {data}) > 40
