"""EMA teachers: a copy of a module that follows its parameters slowly."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ulna.nn.batch_norm import BatchNorm


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Move the teacher's parameters towards the student's: teacher = momentum * teacher + (1 - momentum) * student.

    Args:
        teacher: A copy of the student, without gradient.
        student: The module that is trained.
        momentum: Share of the teacher that is kept.
    """
    slow: list[Tensor] = list(teacher.parameters())
    torch._foreach_lerp_(slow, [own.detach() for own in student.parameters()], 1 - momentum)


def teacher_mode(teacher: nn.Module) -> None:
    """Turn dropout and stochastic depth off, but let batch norm use the statistics of its batch."""
    teacher.eval()
    for module in teacher.modules():
        if isinstance(module, BatchNorm):
            module.train()
