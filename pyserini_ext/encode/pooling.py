"""From token vectors to one vector a text."""

from __future__ import annotations

import torch

POOLINGS = ("cls", "mean", "last")


def pool(hidden: torch.Tensor, mask: torch.Tensor, how: str, skip: int = 0) -> torch.Tensor:
    """Reduce the token vectors of each text to one, padding excluded.

    Parameters
    ----------
    hidden : tensor of float, shape (n, tokens, d)
        The last hidden states.
    mask : tensor of int, shape (n, tokens)
        1 at tokens, 0 at padding, which may stand on either side.
    how : {"cls", "mean", "last"}
        The first token, the average of all, or the last token.
    skip : int
        Tokens at the start that the mean leaves out (TCT-ColBERT leaves out four). Without any
        token left the mean is zero, as in Pyserini.

    Returns
    -------
    tensor of float32, shape (n, d)
    """
    if how == "mean":
        weights = mask * (mask.cumsum(1) > skip) if skip else mask
        total = torch.einsum("ntd,nt->nd", hidden.float(), weights.float())
        return total / weights.sum(1, keepdim=True).clamp(min=1)
    last = mask.shape[1] - 1
    position = mask.argmax(1) if how == "cls" else last - mask.flip(1).argmax(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), position].float()
