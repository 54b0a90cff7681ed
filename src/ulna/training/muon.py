"""Muon for the matrices of an encoder, AdamW for everything else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from ulna.encoders import Encoder


class MuonAdamW(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024; Liu et al. 2025, arXiv 2502.16982) beside AdamW, as one optimiser.

    Muon makes all singular values of a matrix's update equal, so that rare directions are learned as fast as others.
    Updates are scaled to the size of AdamW's.

    Args:
        matrices: Weights that Muon updates.
        groups: Parameter groups that AdamW updates.
        muon_rate: Learning rate of Muon.
        options: Options of AdamW; the weight decay is also Muon's.
    """

    def __init__(
        self, matrices: Sequence[nn.Parameter], groups: Sequence[dict[str, Any]], *, muon_rate: float, **options: Any
    ) -> None:
        decay = options["weight_decay"]
        muon = torch.optim.Muon(matrices, lr=muon_rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
        self.parts: list[torch.optim.Optimizer] = [muon, torch.optim.AdamW(groups, **options)]
        super().__init__([group for part in self.parts for group in part.param_groups], {})
        self._share()

    def _share(self) -> None:
        """Let both optimisers work on the groups and the state of this one, which are saved and scheduled."""
        first = 0
        for part in self.parts:
            part.state = self.state
            end = first + len(part.param_groups)
            part.param_groups = self.param_groups[first:end]
            first = end

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a saved state."""
        super().load_state_dict(state_dict)
        self._share()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step; the closure computes loss and gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss


def hidden_matrices(encoder: Encoder) -> list[nn.Parameter]:
    """Return the weights of an encoder's linear layers, without those of its input layers."""
    hidden = [module for group in list(encoder.layer_groups())[1:] for layer in group for module in layer.modules()]
    found: dict[int, Any] = {id(own.weight): own.weight for own in hidden if isinstance(own, nn.Linear)}
    return list(found.values())
