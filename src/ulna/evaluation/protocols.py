"""Protocols for `ulna.evaluate`, as typed objects: `ulna.protocols.Linear()`, `ulna.protocols.KNN(k=5)`, ..."""

from ulna.core import NameTable
from ulna.evaluation.finetune import FineTune
from ulna.evaluation.fit import Fit
from ulna.evaluation.knn import KNN
from ulna.evaluation.linear import Linear
from ulna.evaluation.protocol import Protocol
from ulna.evaluation.retrieval import Retrieval
from ulna.evaluation.unknown import Unknown

PROTOCOLS = NameTable(
    "protocol",
    {
        "linear": "ulna.evaluation.linear:Linear",
        "knn": "ulna.evaluation.knn:KNN",
        "fit": "ulna.evaluation.fit:Fit",
        "finetune": "ulna.evaluation.finetune:FineTune",
        "retrieval": "ulna.evaluation.retrieval:Retrieval",
        "unknown": "ulna.evaluation.unknown:Unknown",
    },
)

__all__ = ["KNN", "PROTOCOLS", "FineTune", "Fit", "Linear", "Protocol", "Retrieval", "Unknown"]
