import pytest
import torch

from btsee_lib.cost import CostModel
from btsee_lib.studies.precision import compare_precisions, run_cascade


@pytest.fixture(scope="module")
def cost(backbone, branches, splits):
    return CostModel.measure(backbone, branches, splits.test.images.shape[1:])


def test_float32_is_the_cascade_as_it_is_and_bfloat16_decides_nearly_alike(cascade, splits, cost):
    table = compare_precisions(cascade, splits, splits.test, cost).set_index("precision")
    exact, rough = table.loc["32-true"], table.loc["bf16-mixed"]
    exits = cascade.predict(splits.normalise(splits.test.images))
    assert exact["accuracy"] == pytest.approx(float((exits.label == splits.test.labels).double().mean()))
    macs = cost.by_exit(cascade.thresholds)[exits.exit].double().mean()
    assert exact["mean_macs"] == pytest.approx(float(macs), rel=1e-3)
    assert (exact[["other_exit", "other_label", "accuracy_change", "macs_change"]] == 0).all()
    assert 0 < rough["other_exit"] < 0.1
    assert rough["other_label"] < 0.05
    assert abs(rough["accuracy_change"]) < 3
    assert rough["accuracy_change"] == pytest.approx(100 * (rough["accuracy"] - exact["accuracy"]))


def test_bfloat16_is_really_used(cascade, splits):
    seen = set()
    hook = cascade.backbone.stages[1].register_forward_hook(lambda module, inputs, out: seen.add(out.dtype))
    run_cascade(cascade, splits, splits.test.images[:20], "bf16-mixed")
    hook.remove()
    assert seen == {torch.bfloat16}


def test_batches_change_no_decision_but_by_rounding(cascade, splits):
    images = splits.test.images[:100]
    whole, parts = (run_cascade(cascade, splits, images, "32-true", size) for size in (100, 30))
    assert (whole.exit == parts.exit).float().mean() > 0.98
    assert whole.confidence.dtype == torch.float32
