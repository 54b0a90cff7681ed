"""Pretext tasks, one class per module."""

from ulna.pretext.base import Pretext
from ulna.pretext.feature_prediction import FeaturePrediction
from ulna.pretext.flow import Flow
from ulna.pretext.ha_cm import HACM
from ulna.pretext.momentum_contrast import MomentumContrast
from ulna.pretext.mpdp import MPDP
from ulna.pretext.table import PRETEXTS
from ulna.pretext.vicreg import VICReg
from ulna.pretext.weighted_sum import WeightedSum

__all__ = [
    "HACM",
    "MPDP",
    "PRETEXTS",
    "FeaturePrediction",
    "Flow",
    "MomentumContrast",
    "Pretext",
    "VICReg",
    "WeightedSum",
]
