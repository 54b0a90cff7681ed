"""Floor 8: protocols that judge an encoder."""

from typing import TYPE_CHECKING

from ulna.core import NameTable, lazy_attributes

PROTOCOLS = NameTable(
    "protocol",
    {
        "linear": "ulna.protocols.linear:Linear",
        "knn": "ulna.protocols.knn:KNN",
        "few-labels": "ulna.protocols.finetune:few_labels",
        "finetune": "ulna.protocols.finetune:FineTune",
        "scratch": "ulna.protocols.finetune:scratch",
        "transfer": "ulna.protocols.transfer:Transfer",
        "retrieval": "ulna.protocols.retrieval:Retrieval",
    },
)
_PUBLIC = PROTOCOLS.attributes() | {
    "Labelled": "ulna.protocols.base:Labelled",
    "Outcome": "ulna.protocols.outcome:Outcome",
    "Protocol": "ulna.protocols.base:Protocol",
    "extract": "ulna.protocols.features:extract",
}
__all__ = [
    "KNN", "PROTOCOLS", "FineTune", "Labelled", "Linear", "Outcome", "Protocol", "Retrieval", "Transfer", "extract",
    "few_labels", "scratch",
]  # fmt: skip

if TYPE_CHECKING:
    from ulna.protocols.base import Labelled, Protocol
    from ulna.protocols.features import extract
    from ulna.protocols.finetune import FineTune, few_labels, scratch
    from ulna.protocols.knn import KNN
    from ulna.protocols.linear import Linear
    from ulna.protocols.outcome import Outcome
    from ulna.protocols.retrieval import Retrieval
    from ulna.protocols.transfer import Transfer


__getattr__ = lazy_attributes(__name__, _PUBLIC)
