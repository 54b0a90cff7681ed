"""Models: load, save, embed, predict, fit; recipes and classifiers."""

from ulna.models.classifier import Classifier, ClassifierConfig
from ulna.models.decoding import Smoothing
from ulna.models.embedding import Embedder
from ulna.models.folder import ModelConfig
from ulna.models.model import Model, Prediction, load
from ulna.models.provenance import Provenance, provenance
from ulna.models.recipe import Recipe, Training
from ulna.models.timeline import Scan, Timeline

__all__ = [
    "Classifier", "ClassifierConfig", "Embedder", "Model", "ModelConfig", "Prediction", "Provenance", "Recipe",
    "Scan", "Smoothing", "Timeline", "Training", "load", "provenance",
]  # fmt: skip
