"""Pretext tasks by name."""

from ulna.core import NameTable

PRETEXTS = NameTable(
    "pretext task",
    {
        "mpdp": "ulna.pretext.mpdp:MPDP",
        "flow": "ulna.pretext.flow:Flow",
        "ha_cm": "ulna.pretext.ha_cm:HACM",
        "feature_prediction": "ulna.pretext.feature_prediction:FeaturePrediction",
        "momentum_contrast": "ulna.pretext.momentum_contrast:MomentumContrast",
        "vicreg": "ulna.pretext.vicreg:VICReg",
        "weighted_sum": "ulna.pretext.weighted_sum:WeightedSum",
    },
)
