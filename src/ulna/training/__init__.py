"""Training: pretraining and fine-tuning on one trainer, checkpoints, resume."""

from ulna.training.checkpoints import NonFiniteError, TrainingStopped
from ulna.training.pretraining import pretrain
from ulna.training.trainer import Hardware

__all__ = ["Hardware", "NonFiniteError", "TrainingStopped", "pretrain"]
