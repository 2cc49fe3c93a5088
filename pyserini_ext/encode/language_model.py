"""Loading language models with the head that gives a logit for each token of the vocabulary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from pyserini_ext.encode.checkpoint import one_line_errors, quietly
from pyserini_ext.encode.model_files import find_file, inside
from pyserini_ext.errors import InputError


def load_language_model(
    checkpoint: str, folder: str = "", trust_remote_code: bool = False
) -> tuple[Any, Any]:
    """Load a language model with its head, and its tokenizer.

    Parameters
    ----------
    checkpoint : str
        Folder, or name on the Hugging Face hub. Decoders (``...ForCausalLM``) keep their causal
        head, anything else gets that of masked language modelling.
    folder : str
        Where in the checkpoint.
    trust_remote_code : bool
        Run Python code that comes with the checkpoint.

    Returns
    -------
    tuple of (PreTrainedModel, PreTrainedTokenizer)
        The model in evaluation mode, float32, on the CPU.

    Raises
    ------
    InputError
        In one line, if there is no such checkpoint, it cannot be fetched, or it has no such head.
    """
    if find_file(checkpoint, inside(folder, "config.json")) is None:
        raise InputError(f"{checkpoint} has no {inside(folder, 'config.json')}: not a checkpoint")
    place: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    source = checkpoint
    if Path(checkpoint).is_dir():
        source = str(Path(checkpoint) / folder)
    elif folder:
        place["subfolder"] = folder
    with quietly(), one_line_errors(checkpoint):
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, **place)
        config = transformers.AutoConfig.from_pretrained(source, **place)
        loader = _loader(config)
        model, info = loader.from_pretrained(
            source, **place, dtype=torch.float32, output_loading_info=True
        )
    if missing := sorted(info["missing_keys"]):
        raise InputError(
            f"{checkpoint} lacks {len(missing)} weights of a {type(model).__name__} (such as "
            f"{missing[0]}); a sparse encoder needs a language model with its head, not only its "
            "body"
        )
    return model.eval(), tokenizer


def _loader(config: Any) -> Any:
    name = next(iter(getattr(config, "architectures", None) or []), "")
    if name.endswith(("ForCausalLM", "LMHeadModel")):
        return transformers.AutoModelForCausalLM
    return transformers.AutoModelForMaskedLM
