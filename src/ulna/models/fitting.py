"""Fitting a classifier to frozen embeddings."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from ulna.core import spread_evenly
from ulna.models.classifier import Classifier, ClassifierConfig
from ulna.models.novelty import Novelty
from ulna.models.standardisation import principal_directions, standardisation

STRENGTHS = np.logspace(-4, 2, 7)  # inverse regularisation, as scikit-learn's C
MOST_FOLDS = 5
MOST_EXACT = 2000  # clips up to which weights are found in the span of the clips
MOST_DIRECTIONS = 512  # of more clips, that weights are found in
MOST_SPREAD = 5000  # clips in all; label spreading compares all pairs of them
KERNEL = 10.0  # of label spreading: similarity exp(-10 d²) of embeddings of unit length
SPREADING = 0.8  # share of its neighbours' labels that a clip takes
LABELLED_WEIGHT = 10.0  # of a labelled clip; an unlabelled one weighs at most 1
LOG_TEMPERATURES = (-2.0, 2.0)


def fit_classifier(
    features: Tensor,
    labels: np.ndarray,
    config: ClassifierConfig,
    *,
    unlabelled: Tensor | None = None,
    groups: np.ndarray | None = None,
    recordings: np.ndarray | None = None,
) -> Classifier:
    """Fit a classifier to embeddings, by `fit_logistic_regression`.

    Args:
        features: (B, E) embeddings.
        labels: (B,) class indices.
        config: Classes, training data and pooling.
        unlabelled: (M, E) embeddings of clips without a label.
        groups: (B,) person or recording of each clip, to measure novelty by; None does not measure it.
        recordings: See `fit_logistic_regression`.
    """
    weight, bias = fit_logistic_regression(
        features, labels, len(config.classes), unlabelled=unlabelled, recordings=recordings
    )
    return Classifier(weight, bias, config, novelty=None if groups is None else Novelty.of(features, groups))


def fit_logistic_regression(
    features: Tensor,
    labels: np.ndarray,
    num_classes: int,
    *,
    unlabelled: Tensor | None = None,
    recordings: np.ndarray | None = None,
) -> tuple[Tensor, Tensor]:
    """Fit regularised logistic regression to standardised embeddings.

    If every class has at least two labelled clips, cross-validation among them chooses the strength of the
    regularisation and a temperature, by which the logits are divided so that probabilities are calibrated (Guo et al.,
    2017). Clips without a label get one by label spreading (Zhou et al., 2004), and count by how certain it is. With
    more than 2,000 clips, the 512 principal directions of the embeddings are used.

    Args:
        features: (B, E) embeddings.
        labels: (B,) class indices.
        num_classes: L, the number of classes; those without a clip get a probability of 0.
        unlabelled: (M, E) embeddings of clips without a label; every n-th is used if there are more than 5,000 clips in
            all, and none beside 5,000 labelled ones.
        recordings: (B,) recording of each clip. Clips of one recording, which may overlap, are in one fold.

    Returns:
        Weight (L, E) and bias (L,) for embeddings that are not standardised.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss, make_scorer
    from sklearn.model_selection import GridSearchCV

    room = max(0, MOST_SPREAD - len(features))
    is_used = unlabelled is not None and len(unlabelled) and room
    others = unlabelled[:: -(-len(unlabelled) // room)] if is_used and unlabelled is not None else features[:0]
    mean, sd = standardisation(torch.cat([features, others]))
    scaled = ((torch.cat([features, others]) - mean) / sd).numpy()
    rows, basis = _in_span(scaled)
    own, other_rows = rows[: len(features)], rows[len(features) :]
    known, counts = np.unique(labels, return_counts=True)
    estimator, temperature = LogisticRegression(C=1e-2, max_iter=500), 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        if counts.min() >= 2:
            folds = _folds(labels, min(MOST_FOLDS, int(counts.min())), recordings)
            cross_entropy = make_scorer(
                log_loss, greater_is_better=False, response_method="predict_proba", labels=known
            )
            search = GridSearchCV(estimator, {"C": STRENGTHS}, cv=folds, scoring=cross_entropy, refit=False)
            search.fit(_in_span(own)[0], labels)
            estimator.set_params(**search.best_params_)
            probabilities = np.empty((len(labels), len(known)))
            for fitted, held_out in folds:
                _fit(estimator, own[fitted], labels[fitted], other_rows)
                probabilities[held_out] = estimator.predict_proba(own[held_out])
            temperature = best_temperature(probabilities, np.searchsorted(known, labels))
        _fit(estimator, own, labels, other_rows)
    found = estimator.coef_ if basis is None else estimator.coef_ @ basis.T
    coefficients, intercepts = found / temperature, estimator.intercept_ / temperature
    if len(known) == 2:  # scikit-learn keeps one row for two classes
        coefficients, intercepts = np.stack([0 * coefficients[0], coefficients[0]]), np.array([0.0, intercepts[0]])
    weight = torch.zeros(num_classes, features.shape[1])
    bias = torch.full((num_classes,), -1e4)
    weight[known] = torch.from_numpy(coefficients).float() / sd
    bias[known] = torch.from_numpy(intercepts).float() - weight[known] @ mean
    return weight, bias


def _folds(
    labels: np.ndarray, number: int, recordings: np.ndarray | None
) -> list[tuple[Int[np.ndarray, " N"], Int[np.ndarray, " M"]]]:
    """Return which clips to fit to and which to hold out, fold by fold; every class is among the former.

    Clips of one recording are in one fold, unless a class then had no clips to fit to.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    rows = np.zeros((len(labels), 1))
    if recordings is not None and number <= len(np.unique(recordings)) < len(labels):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # classes of fewer recordings than folds
            whole = StratifiedGroupKFold(number, shuffle=True, random_state=0)
            folds = list(whole.split(rows, labels, recordings))
        if all(
            len(np.unique(labels[fitted])) == len(np.unique(labels)) and len(held_out) for fitted, held_out in folds
        ):
            return folds
    return list(StratifiedKFold(number, shuffle=True, random_state=0).split(rows, labels))


def _in_span(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Return rows (B, E) in an orthonormal basis (E, R), and the basis; None if there are few features.

    Up to 2,000 clips, it is a basis of their span. Regularised weights lie in it, and distances between clips stay the
    same: this gives the same classifier from far fewer numbers. For more clips, it holds their principal directions.
    """
    most = len(rows) if len(rows) <= MOST_EXACT else MOST_DIRECTIONS
    if most >= rows.shape[1]:
        return rows, None
    basis = principal_directions(torch.from_numpy(rows[spread_evenly(len(rows), MOST_EXACT)]), most).numpy()
    return rows @ basis, basis


def best_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature with the smallest cross-entropy, between 0.14 and 7.4.

    Args:
        probabilities: (B, L) class probabilities of held-out clips at temperature 1.
        labels: (B,) class indices.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    logits = np.log(np.maximum(probabilities, 1e-12))

    def cross_entropy(log_temperature: float) -> float:
        scores = log_softmax(logits / np.exp(log_temperature), axis=1)
        return -float(scores[np.arange(len(labels)), labels].mean())

    found = minimize_scalar(cross_entropy, bounds=LOG_TEMPERATURES, method="bounded")
    return float(np.exp(found.x))


def _fit(estimator: Any, features: np.ndarray, labels: np.ndarray, unlabelled: np.ndarray) -> None:
    """Fit an estimator to labelled clips and to those that label spreading gives a label."""
    if not len(unlabelled):
        estimator.fit(features, labels)
        return
    from sklearn.semi_supervised import LabelSpreading

    rows = np.concatenate([features, unlabelled])
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-8)
    spreading = LabelSpreading(kernel="rbf", gamma=KERNEL, alpha=SPREADING, max_iter=200)
    spreading.fit(unit, np.concatenate([labels, np.full(len(unlabelled), -1)]))
    certainty = np.nan_to_num(spreading.label_distributions_.max(axis=1))[len(labels) :]
    spread = np.concatenate([labels, spreading.transduction_[len(labels) :]])
    weight = np.concatenate([np.full(len(labels), LABELLED_WEIGHT), certainty])
    estimator.fit(rows[weight > 0], spread[weight > 0], weight[weight > 0])
