"""The model that is trained: a masked language model, or a body without head that is given one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import transformers

from pyserini_ext.encode.batches import length_sorted, padded
from pyserini_ext.encode.checkpoint import one_line_errors, quietly
from pyserini_ext.encode.model_files import find_file
from pyserini_ext.encode.sparse_document import ACTIVATIONS
from pyserini_ext.errors import InputError

NEVER = -100.0
"""Bias of special tokens: no document ever has them, whatever program loads the model."""

OFFSET = 3.0
"""GELU is linear to within 0.4 % from here on: there the head can hold a linear solution."""

RIDGE = 1.0
"""Added to the diagonal of the covariance, times the mean of it times 1e-3."""

SPARSE_START = 0.25
"""Where the first threshold lies between a strong logit of other tokens (their 99.9 % quantile) and
the mean logit of the document's own tokens. On NPL 0.1 to 0.5 rank alike before training; this
leaves some 130 weights for training to choose from."""


START_LOGIT = 1.0
"""Mean logit of a document's own tokens above the threshold: their weight is then about 0.7, as in
BM25. Larger scores than the teachers' would make the first steps do nothing but shrink them."""


class Columns(torch.nn.Linear):
    """The decoder of a head, which gives the logits of some tokens only when told so."""

    def __init__(self, decoder: torch.nn.Linear) -> None:
        torch.nn.Module.__init__(self)
        self.in_features, self.out_features = decoder.in_features, decoder.out_features
        self.weight, self.bias = decoder.weight, decoder.bias
        self.columns: torch.Tensor | None = None

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return logits, shape (..., vocabulary or columns)."""
        if self.columns is None:
            return super().forward(states)
        bias = None if self.bias is None else self.bias[self.columns]
        return torch.nn.functional.linear(states, self.weight[self.columns], bias)


class SparseModel:
    """A masked language model as a document encoder, with gradients.

    Dropout stays off: teachers' scores regularise enough, and a resumed run needs no state of a
    random generator.

    Parameters
    ----------
    checkpoint : str
        Folder or hub name. Of a body without head the head is made: the transform as BERT has it,
        tied to the input embeddings; :meth:`start_head` has to be called then.
    activation : {"log1p", "log1p-log1p"}
    device : torch.device
    dtype : {"float32", "bfloat16"}
        Of the forward pass; parameters are float32 always.
    batch_tokens : int
        Tokens of a forward pass at most.

    Attributes
    ----------
    model : PreTrainedModel
    tokenizer : PreTrainedTokenizer
    headless : bool
        Whether the checkpoint had no head.
    """

    def __init__(
        self,
        checkpoint: str,
        activation: str,
        device: torch.device,
        dtype: str = "float32",
        batch_tokens: int = 4096,
    ) -> None:
        self.activation, self.device, self.batch_tokens = activation, device, batch_tokens
        self.model, self.tokenizer, self.headless = load_trainable(checkpoint)
        decoder = self.model.get_output_embeddings()
        if not isinstance(decoder, torch.nn.Linear):
            raise InputError(f"{checkpoint} has no linear layer that gives the logits of tokens")
        self.decoder = Columns(decoder)
        self.model.set_output_embeddings(self.decoder)
        self.model.to(device).eval()
        special = torch.tensor(sorted(self.tokenizer.all_special_ids))
        if self.decoder.bias is not None:
            with torch.no_grad():
                self.decoder.bias[special.to(device)] = NEVER
        self._half = dtype == "bfloat16"

    def encode(self, documents: Sequence[np.ndarray], columns: np.ndarray) -> torch.Tensor:
        """Return weights of tokens in documents.

        Parameters
        ----------
        documents : sequence of ndarray of int, each shape (length,)
            Token ids, special tokens included.
        columns : ndarray of int64
            Token ids to give weights of; the others cost nothing.

        Returns
        -------
        tensor of float32, shape (documents, columns)
        """
        self.decoder.columns = torch.from_numpy(columns).to(self.device)
        rows: list[torch.Tensor] = []
        places: list[np.ndarray] = []
        pad = self.tokenizer.pad_token_id or 0
        try:
            lengths = [len(ids) for ids in documents]
            for batch in length_sorted(lengths, len(documents), self.batch_tokens):
                ids, mask = padded([documents[place] for place in batch], pad)
                words, attention = (torch.from_numpy(a).to(self.device) for a in (ids, mask))
                with self._precision():
                    logits = self.model(input_ids=words, attention_mask=attention).logits
                rows.append(logits.masked_fill(attention[..., None] == 0, 0).amax(1).float())
                places.append(batch)
        finally:
            self.decoder.columns = None
        order = np.argsort(np.concatenate(places), kind="stable")
        return self._activate(torch.cat(rows)[torch.from_numpy(order).to(self.device)])

    def encode_states(self, states: Sequence[np.ndarray], columns: np.ndarray) -> torch.Tensor:
        """Return what :meth:`encode` does, from the last hidden states of the documents."""
        transform, act, norm = self._head()
        self.decoder.columns = torch.from_numpy(columns).to(self.device)
        flat = torch.from_numpy(np.concatenate(states).astype(np.float32)).to(self.device)
        with self._precision():
            logits = self.decoder(norm(act(transform(flat))))
        self.decoder.columns = None
        parts = logits.split([len(each) for each in states])
        return self._activate(torch.stack([part.amax(0) for part in parts]).float())

    def states(self, documents: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the last hidden states of documents, each of shape (length, width)."""
        rows: list[Any] = list(documents)
        ids, mask = padded(rows, self.tokenizer.pad_token_id or 0)
        words, attention = (torch.from_numpy(a).to(self.device) for a in (ids, mask))
        with torch.no_grad(), self._precision():
            body = self.model.base_model(input_ids=words, attention_mask=attention)
        found = body.last_hidden_state.float().cpu().numpy()
        return [found[row, : len(each)] for row, each in enumerate(documents)]

    def _precision(self) -> Any:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._half)

    def _activate(self, logits: torch.Tensor) -> torch.Tensor:
        weights = logits.relu()
        for _ in range(ACTIVATIONS[self.activation]):
            weights = weights.log1p()
        return weights

    def start_head(self, documents: Sequence[np.ndarray]) -> None:
        """Give a new head the closed-form solution by which a document has its own tokens.

        A ridge regression takes the last hidden state of each position to the embedding of its
        token. Tokens whose embeddings are alike (inflections, synonyms) get logits too, so that
        ranking is useful before the first step; a random head would need the compute of
        pre-training to get there.

        Parameters
        ----------
        documents : sequence of ndarray of int
            A sample; some tens of thousands of tokens are enough.
        """
        transform, act, norm = self._head()
        if any(part.bias is None for part in (transform, norm, self.decoder)):
            raise InputError(
                f"the head of {type(self.model).__name__} has layers without bias, which cannot "
                "be fitted; give a checkpoint that has its head"
            )
        embeddings = self.decoder.weight.detach().double()
        states, tokens = self._tokens_and_states(documents)
        goal = embeddings[tokens] - embeddings[tokens].mean(0)
        mean = states.mean(0)
        centred = states - mean
        covariance = centred.T @ centred
        ridge = RIDGE * 1e-3 * covariance.diagonal().mean()
        eye = torch.eye(len(mean), dtype=torch.float64, device=self.device)
        solution = torch.linalg.solve(covariance + ridge * eye, centred.T @ goal)
        solution /= (centred @ solution).std()
        with torch.no_grad():
            transform.weight.copy_(solution.T)
            transform.bias.copy_(OFFSET - mean @ solution)
            norm.weight.fill_(1)
            norm.bias.zero_()
            # A sample of positions is enough to know what logits look like.
            some = torch.linspace(0, len(states) - 1, min(500, len(states))).long()
            some = some.to(self.device)
            hidden = act(transform(states[some].float()))
            logits = norm(hidden) @ self.decoder.weight.T
            place = tokens[some][:, None]
            own = float(logits.gather(1, place).mean())
            logits.scatter_(1, place, float(logits.min()))
            strong = float(np.quantile(logits.cpu().numpy(), 0.999))
            threshold = SPARSE_START * own + (1 - SPARSE_START) * strong
            # A body that does not know its tokens apart must not make weights explode.
            gain = START_LOGIT / max(0.1 * abs(own), own - threshold)
            norm.weight.fill_(gain)
            self.decoder.bias[self.decoder.bias > NEVER] = -gain * threshold

    def _head(self) -> tuple[torch.nn.Linear, Any, torch.nn.LayerNorm]:
        """Return the square layer, the activation and the norm between body and decoder."""
        prefix = f"{self.model.base_model_prefix}."
        rest = [m for n, m in self.model.named_modules() if not f"{n}.".startswith(prefix)]
        linear = [
            m for m in rest if isinstance(m, torch.nn.Linear) and m.in_features == m.out_features
        ]
        norms = [m for m in rest if isinstance(m, torch.nn.LayerNorm)]
        if len(linear) != 1 or len(norms) != 1:
            raise InputError(
                f"the head of {type(self.model).__name__} is not a layer, a norm and a decoder as "
                "in BERT; leave --states out, and give a checkpoint that has its head"
            )
        config = self.model.config
        names = ("classifier_activation", "hidden_act", "activation")
        name = next((getattr(config, n) for n in names if hasattr(config, n)), "gelu")
        return linear[0], transformers.activations.ACT2FN[name], norms[0]

    def _tokens_and_states(
        self, documents: Sequence[np.ndarray]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        states, tokens = [], []
        lengths = [len(ids) for ids in documents]
        for batch in length_sorted(lengths, len(documents), self.batch_tokens):
            some = [documents[place] for place in batch]
            states += self.states(some)
            tokens += some
        ids = np.concatenate(tokens).astype(np.int64)
        kept = ~np.isin(ids, self.tokenizer.all_special_ids)
        found = torch.from_numpy(np.concatenate(states)[kept]).to(self.device).double()
        return found, torch.from_numpy(ids[kept]).to(self.device)


def load_trainable(checkpoint: str) -> tuple[Any, Any, bool]:
    """Load a masked language model, or a body whose head is then random.

    Returns
    -------
    tuple of (PreTrainedModel, PreTrainedTokenizer, bool)
        float32, on the CPU; the last says whether the head is new.

    Raises
    ------
    InputError
        If there is no such checkpoint, it is a decoder, or its body lacks weights.
    """
    if find_file(checkpoint, "config.json") is None:
        raise InputError(f"{checkpoint} has no config.json: not a checkpoint")
    with quietly(), one_line_errors(checkpoint):
        tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
        config = transformers.AutoConfig.from_pretrained(checkpoint)
        if type(config) not in transformers.MODEL_FOR_MASKED_LM_MAPPING:
            raise InputError(
                f"{checkpoint} is a {config.model_type}, which has no head of masked language "
                "modelling; training takes encoders such as BERT, DistilBERT, RoBERTa, ModernBERT"
            )
        torch.manual_seed(0)
        model, info = transformers.AutoModelForMaskedLM.from_pretrained(
            checkpoint, dtype=torch.float32, output_loading_info=True
        )
    prefix = f"{model.base_model_prefix}."
    if broken := sorted(key for key in info["missing_keys"] if key.startswith(prefix)):
        raise InputError(
            f"{checkpoint} lacks {len(broken)} weights of a {type(model).__name__}'s body (such as "
            f"{broken[0]}); is it damaged?"
        )
    return model, tokenizer, bool(info["missing_keys"])
