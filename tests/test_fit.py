"""Few labels in seconds: the protocol `fit`, and raw joints beside it with the same labels."""

import numpy as np
import pytest

from conftest import model_of, tiny
from ulna.core import InputError
from ulna.dataset import label_subset
from ulna.evaluation import LabelledSplit, evaluate
from ulna.evaluation.baselines import nearest_raw_joints, raw_joints
from ulna.evaluation.protocols import FineTune, Fit
from ulna.evaluation.table import rows_of


@pytest.fixture(scope="module")
def model(dataset, tmp_path_factory):
    return model_of(tiny(epochs=2), dataset, tmp_path_factory.mktemp("fit") / "model")


def test_draws_per_class_are_nested(dataset):
    one, five, many = (label_subset(dataset, "half", 1.0, 3, per_class=n) for n in (1, 5, 1000))
    assert np.bincount(dataset.labels[one]).tolist() == [1, 1]
    assert np.bincount(dataset.labels[five]).tolist() == [5, 5]
    assert set(one) < set(five) < set(many)
    assert np.array_equal(many, label_subset(dataset, "half", 1.0, 3))
    with pytest.raises(InputError, match="per_class: expected a number of at least 1"):
        label_subset(dataset, "half", 1.0, 3, per_class=0)
    with pytest.raises(InputError, match=r"expected share or per_class, found share 0\.5 and per_class 2"):
        Fit(share=0.5, per_class=2)


def test_the_protocol_is_what_the_model_fits(model, dataset):
    """With all labels of the training part, it gives the predictions of `Model.fit`."""
    evaluation = evaluate(model, dataset, Fit(), split="half", baselines=False)
    assert len(evaluation.result.seeds) == 1, "nothing is drawn"
    model.fit(dataset, split="half", classifier="own")
    test = [dataset.clip(int(i)) for i in dataset.split("half")[1]]
    own = [dataset.classes.index(p.label) for p in model.predict(test, classifier="own")]
    assert own == evaluation.result.seeds[0].predictions


@pytest.mark.parametrize("protocol", [Fit(per_class=1), FineTune(per_class=1, epochs=1, steps=0, probe_epochs=1)])
def test_raw_joints_know_the_same_labels(model, dataset, protocol):
    evaluation = evaluate(model, dataset, protocol, split="half", seeds=2, baselines=["raw_joints"])
    assert evaluation.result.key.variant == evaluation.raw_joints.key.variant == "1-per-class"
    data = LabelledSplit.of(dataset, "half")
    test = raw_joints(dataset, data.test)
    for own, raw in zip(evaluation.result.seeds, evaluation.raw_joints.seeds, strict=True):
        clips = [dataset.ids.index(name) for name in own.labelled]
        known = raw_joints(dataset, np.array(clips))
        nearest = ((test[:, None] - known) ** 2).sum(dim=2).argmin(dim=1)
        assert dataset.labels[np.array(clips)[nearest.numpy()]].tolist() == raw.predictions
    assert {row.options for row in rows_of(evaluation.raw_joints)} == {"per_class=1"}
    assert nearest_raw_joints(data).key.variant == "", "all labels by default"
