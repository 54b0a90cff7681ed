"""Evaluation: protocols, results, baselines."""

from ulna.evaluation import protocols
from ulna.evaluation.evaluate import Evaluation, Evaluator, check_same_recipe, evaluate, over_models
from ulna.evaluation.fusion import fuse
from ulna.evaluation.protocol import LabelledSplit, Protocol, RunOptions
from ulna.evaluation.protocols import PROTOCOLS
from ulna.evaluation.results import EvalResult, ResultKey, SeedResult, merge, pool_folds

__all__ = [
    "PROTOCOLS", "EvalResult", "Evaluation", "Evaluator", "LabelledSplit", "Protocol", "ResultKey", "RunOptions",
    "SeedResult", "check_same_recipe", "evaluate", "fuse", "merge", "over_models", "pool_folds", "protocols",
]  # fmt: skip
