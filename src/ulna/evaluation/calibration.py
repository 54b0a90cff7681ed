"""Calibration: do probabilities say how often a class is right?"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

NUM_BINS = 15


def expected_calibration_error(confidence: Float[np.ndarray, " B"], is_right: Bool[np.ndarray, " B"]) -> float:
    """Return the mean difference between confidence and accuracy, over 15 bins of confidence (Guo et al., 2017).

    Args:
        confidence: Probability of the predicted class.
        is_right: Whether the predicted class is right.
    """
    bins = np.minimum((confidence * NUM_BINS).astype(int), NUM_BINS - 1)
    differences = np.bincount(bins, confidence - is_right, minlength=NUM_BINS)
    return float(np.abs(differences).sum() / len(confidence))
