from __future__ import annotations

import pytest
from pydantic import ValidationError

from device_profiles.budget import LIMIT_NAMES, BudgetFile
from device_profiles.metrics import METRICS


def test_limits_and_objectives_keep_the_order_written():
    budget = BudgetFile.model_validate(
        {"size_bytes": "minimize", "accuracy_drop": "1%", "latency_p50_s": "minimize", "peak_memory_bytes": "80MB"}
    )
    assert budget.objectives == ("size_bytes", "latency_p50_s")
    assert budget.constraints == (("accuracy_drop", 0.01), ("peak_memory_bytes", 80_000_000.0))
    assert BudgetFile.model_validate_json(budget.model_dump_json()).objectives == budget.objectives


def test_every_limit_is_a_metric_that_is_better_when_lower():
    assert {METRICS[name].better for name in LIMIT_NAMES} == {"lower"}


def test_a_drop_is_in_the_unit_of_the_metric():
    assert BudgetFile.model_validate({"accuracy_drop": 2.5}).constraints == (("accuracy_drop", 2.5),)


@pytest.mark.parametrize(
    "data", [{"latency": 1}, {"size_bytes": -1}, {"size_bytes": "4ms"}, {"accuracy_drop": None}, {"size_bytes": True}, [], "x"]
)
def test_what_is_not_a_budget(data):
    with pytest.raises(ValidationError):
        BudgetFile.model_validate(data)
