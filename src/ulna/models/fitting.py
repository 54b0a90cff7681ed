"""Fitting a classifier to frozen embeddings."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor

from ulna.models.classifier import standardisation

STRENGTHS = np.logspace(-4, 2, 7)  # inverse regularisation, as scikit-learn's C
MOST_FOLDS = 5


def fit_logistic_regression(features: Tensor, labels: np.ndarray, num_classes: int) -> tuple[Tensor, Tensor]:
    """Fit regularised logistic regression to standardised embeddings.

    The strength is chosen by cross-validation if every class has at least two clips.

    Args:
        features: (B, E) embeddings.
        labels: (B,) class indices.
        num_classes: L, the number of classes; those without a clip get a probability of 0.

    Returns:
        Weight (L, E) and bias (L,) for embeddings that are not standardised.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold

    mean, sd = standardisation(features)
    scaled = ((features - mean) / sd).numpy()
    known, counts = np.unique(labels, return_counts=True)
    estimator = LogisticRegression(C=1e-2, max_iter=500)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        if counts.min() >= 2:
            folds = StratifiedKFold(min(MOST_FOLDS, int(counts.min())), shuffle=True, random_state=0)
            estimator = GridSearchCV(estimator, {"C": STRENGTHS}, cv=folds).fit(scaled, labels).best_estimator_
        else:
            estimator = estimator.fit(scaled, labels)
    coefficients, intercepts = estimator.coef_, estimator.intercept_
    if len(known) == 2:  # scikit-learn keeps one row for two classes
        coefficients, intercepts = np.stack([0 * coefficients[0], coefficients[0]]), np.array([0.0, intercepts[0]])
    weight = torch.zeros(num_classes, features.shape[1])
    bias = torch.full((num_classes,), -1e4)
    weight[known] = torch.from_numpy(coefficients).float() / sd
    bias[known] = torch.from_numpy(intercepts).float() - weight[known] @ mean
    return weight, bias
