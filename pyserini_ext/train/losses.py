"""The terms of the training loss of inference-free sparse encoders."""

from __future__ import annotations

import numpy as np
import torch


def ensemble(scores: np.ndarray, scale: float = 30.0) -> np.ndarray:
    """Mix the scores of several teachers for the candidates of one query.

    Each teacher's scores are put on 0 to 1 by their least and largest, averaged over the teachers
    and multiplied. Source: Geng et al., *Towards Competitive Search Relevance For Inference-Free
    Learned Sparse Retrievers*, 2024, heterogeneous ensemble distillation.

    Parameters
    ----------
    scores : ndarray of float, shape (teachers, documents)
    scale : float
        The paper's.

    Returns
    -------
    ndarray of float64, shape (documents,)
        A teacher whose scores are all equal says 0.
    """
    scores = np.asarray(scores, dtype=np.float64)
    least = scores.min(1, keepdims=True)
    width = scores.max(1, keepdims=True) - least
    scaled = np.divide(scores - least, width, out=np.zeros_like(scores), where=width > 0)
    return scale * scaled.mean(0)


def distillation(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Return KL(softmax(teacher) || softmax(student)), the mean over the queries.

    Parameters
    ----------
    student, teacher : tensor of float, shape (queries, documents)
        Scores of each query's own documents.
    """
    log_student = torch.log_softmax(student, dim=1)
    return torch.nn.functional.kl_div(
        log_student, torch.softmax(teacher, dim=1), reduction="batchmean"
    )


def contrastive(scores: torch.Tensor, positive: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Return InfoNCE over all documents of the batch, the mean over the queries.

    Parameters
    ----------
    scores : tensor of float, shape (queries, documents)
    positive : tensor of int64, shape (queries,)
        Column of the relevant document.
    known : tensor of bool, shape (queries, documents)
        Further relevant documents, which are not to be pushed away.
    """
    return torch.nn.functional.cross_entropy(scores.masked_fill(known, float("-inf")), positive)


def flops(weights: torch.Tensor, shares: torch.Tensor, least: int = 0) -> torch.Tensor:
    """Return sum_j (mean_b |w_bj|)^2, which is least where postings are few and evenly spread.

    Sources: Paria et al., *Minimizing FLOPs to Learn Efficient Sparse Representations*, 2020; the
    l0 mask: Geng et al., 2025.

    Parameters
    ----------
    weights : tensor of float, shape (documents, columns)
        At least 0.
    shares : tensor of float, shape (columns,)
        How many tokens of the vocabulary a column stands for: 1, more where they were sampled.
    least : int
        Documents of this many weights above 0, or fewer, count as empty.
    """
    if least:
        weights = weights * (nonzeros(weights, shares) > least)[:, None]
    return (weights.mean(0).square() * shares).sum()


def nonzeros(weights: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """Return how many weights above 0 each document has, shape (documents,)."""
    return ((weights.detach() > 0) * shares).sum(1)


def ramp(step: int, steps: int) -> float:
    """Return the share of lambda at a step: min(1, step / steps)^2; 1 where `steps` is 0."""
    return min(1.0, step / steps) ** 2 if steps else 1.0
