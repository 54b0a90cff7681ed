"""Fitting a classifier to frozen embeddings."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor

from ulna.models.classifier import standardisation

STRENGTHS = np.logspace(-4, 2, 7)  # inverse regularisation, as scikit-learn's C
MOST_FOLDS = 5
MOST_UNLABELLED = 4000  # label spreading compares all pairs of clips
KERNEL = 10.0  # of label spreading: similarity exp(-10 d²) of embeddings of unit length
SPREADING = 0.8  # share of its neighbours' labels that a clip takes
LABELLED_WEIGHT = 10.0  # of a labelled clip; an unlabelled one weighs at most 1


def fit_logistic_regression(
    features: Tensor, labels: np.ndarray, num_classes: int, *, unlabelled: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Fit regularised logistic regression to standardised embeddings.

    The strength is chosen by cross-validation among the labelled clips if every class has at least two. Clips without a
    label get one by label spreading (Zhou et al., 2004), and count by how certain it is.

    Args:
        features: (B, E) embeddings.
        labels: (B,) class indices.
        num_classes: L, the number of classes; those without a clip get a probability of 0.
        unlabelled: (M, E) embeddings of clips without a label; of more than 4,000, every n-th is used.

    Returns:
        Weight (L, E) and bias (L,) for embeddings that are not standardised.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold

    others = features[:0] if unlabelled is None else unlabelled[:: -(-len(unlabelled) // MOST_UNLABELLED) or 1]
    mean, sd = standardisation(torch.cat([features, others]))
    scaled = ((features - mean) / sd).numpy()
    known, counts = np.unique(labels, return_counts=True)
    estimator = LogisticRegression(C=1e-2, max_iter=500)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        if counts.min() >= 2:
            folds = StratifiedKFold(min(MOST_FOLDS, int(counts.min())), shuffle=True, random_state=0)
            estimator = GridSearchCV(estimator, {"C": STRENGTHS}, cv=folds).fit(scaled, labels).best_estimator_
        elif not len(others):
            estimator = estimator.fit(scaled, labels)
        if len(others):
            estimator.fit(*_with_spread_labels(scaled, labels, ((others - mean) / sd).numpy()))
    coefficients, intercepts = estimator.coef_, estimator.intercept_
    if len(known) == 2:  # scikit-learn keeps one row for two classes
        coefficients, intercepts = np.stack([0 * coefficients[0], coefficients[0]]), np.array([0.0, intercepts[0]])
    weight = torch.zeros(num_classes, features.shape[1])
    bias = torch.full((num_classes,), -1e4)
    weight[known] = torch.from_numpy(coefficients).float() / sd
    bias[known] = torch.from_numpy(intercepts).float() - weight[known] @ mean
    return weight, bias


def _with_spread_labels(
    features: np.ndarray, labels: np.ndarray, unlabelled: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return embeddings, labels and weights of labelled clips and of those that label spreading gives a label."""
    from sklearn.semi_supervised import LabelSpreading

    rows = np.concatenate([features, unlabelled])
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-8)
    spreading = LabelSpreading(kernel="rbf", gamma=KERNEL, alpha=SPREADING, max_iter=200)
    spreading.fit(unit, np.concatenate([labels, np.full(len(unlabelled), -1)]))
    certainty = np.nan_to_num(spreading.label_distributions_.max(axis=1))[len(labels) :]
    spread = np.concatenate([labels, spreading.transduction_[len(labels) :]])
    weight = np.concatenate([np.full(len(labels), LABELLED_WEIGHT), certainty])
    return rows[weight > 0], spread[weight > 0], weight[weight > 0]
