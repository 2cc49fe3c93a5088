"""Loading checkpoints: transformers models, their tokenizers, what sentence-transformers adds."""

from __future__ import annotations

import contextlib
import json
import os
import pickle  # only to name the error that torch raises
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError

from pyserini_ext.errors import InputError


def load_model(checkpoint: str, trust_remote_code: bool = False) -> tuple[Any, Any]:
    """Load a model and its tokenizer from a folder or the Hugging Face hub.

    Safetensors are preferred; other weights are loaded by torch's ``weights_only`` reader, which
    runs no code.

    Parameters
    ----------
    checkpoint : str
        Folder, or name on the hub.
    trust_remote_code : bool
        Run Python code that comes with the checkpoint.

    Returns
    -------
    tuple of (PreTrainedModel, PreTrainedTokenizer)
        The model in evaluation mode, float32, on the CPU.

    Raises
    ------
    InputError
        In one line, if there is no such checkpoint, it cannot be fetched, or its weights are not
        those of the model it claims to be.
    """
    _check_place(checkpoint)
    with quietly(), one_line_errors(checkpoint):
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            checkpoint, trust_remote_code=trust_remote_code
        )
        model, info = transformers.AutoModel.from_pretrained(
            checkpoint,
            trust_remote_code=trust_remote_code,
            dtype=torch.float32,
            output_loading_info=True,
        )
    missing = [key for key in info["missing_keys"] if not key.startswith("pooler.")]
    if missing:
        raise InputError(
            f"{checkpoint} lacks {len(missing)} weights of a {type(model).__name__} (such as "
            f"{missing[0]}); it is damaged or not an encoder that AutoModel can load"
        )
    return model.eval(), tokenizer


def load_ance(checkpoint: str) -> tuple[Any, Any, torch.nn.Module, int]:
    """Load ANCE: RoBERTa, and a linear layer and a layer norm over its first token.

    The weights are read by name because transformers has no class for this model, and version 5
    leaves weights of a foreign class uninitialised. The head lies beside RoBERTa's, or in a file
    ``pooler.pt`` of its own, as tevatron saves it.

    Parameters
    ----------
    checkpoint : str
        Folder, or name on the hub.

    Returns
    -------
    tuple of (RobertaModel, PreTrainedTokenizer, Module, int)
        The module is the head, the number the dimension of what it gives.
    """
    _check_place(checkpoint)
    with quietly(), one_line_errors(checkpoint):
        # The config of a checkpoint as old as ANCE may not say which model it is of.
        config = transformers.RobertaConfig.from_pretrained(checkpoint)
        tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint, config=config)
        weights = read_weights(checkpoint)
        pooler = _file(checkpoint, "pooler.pt")
        if pooler is not None:
            body = {f"roberta.{key}": value for key, value in weights.items()}
            weights = {**body, **_torch_weights(pooler)}
    weights = {key.removeprefix("ance_encoder."): value for key, value in weights.items()}
    try:
        out, width = weights["embeddingHead.weight"].shape
        head = torch.nn.Sequential(torch.nn.Linear(width, out), torch.nn.LayerNorm(out))
        names = {"0": "embeddingHead", "1": "norm"}
        head.load_state_dict(
            {
                f"{layer}.{kind}": weights[f"{name}.{kind}"]
                for layer, name in names.items()
                for kind in ("weight", "bias")
            }
        )
        model = transformers.RobertaModel(config, add_pooling_layer=False)
        wanted = {key: weights[f"roberta.{key}"] for key in model.state_dict()}
        model.load_state_dict(wanted)
    except (KeyError, RuntimeError) as error:
        raise InputError(f"{checkpoint} is not an ANCE checkpoint: {error}") from error
    return model.eval(), tokenizer, head.eval(), out


def sentence_transformers_settings(checkpoint: str) -> dict[str, Any]:
    """Read how sentence-transformers would use a checkpoint.

    Parameters
    ----------
    checkpoint : str
        Folder, or name on the hub.

    Returns
    -------
    dict
        Of ``pooling``, ``normalise``, ``max_length``, ``query_prefix``, ``document_prefix`` those
        that the checkpoint defines; empty if it has no ``modules.json``.

    Raises
    ------
    InputError
        If it needs a module that is not supported here.
    """
    _check_place(checkpoint)
    modules = _json(checkpoint, "modules.json")
    if modules is None:
        return {}
    settings: dict[str, Any] = {"normalise": False}
    for module in modules:
        kind, path = module["type"].rsplit(".", 1)[-1], module["path"]
        if kind == "Transformer":
            limits = _json(checkpoint, f"{path}/sentence_bert_config.json".lstrip("/")) or {}
            if limits.get("max_seq_length"):
                settings["max_length"] = limits["max_seq_length"]
        elif kind == "Pooling":
            settings["pooling"] = _pooling(checkpoint, _json(checkpoint, f"{path}/config.json"))
        elif kind == "Normalize":
            settings["normalise"] = True
        else:
            raise InputError(
                f"{checkpoint} has a sentence-transformers module {kind}, which is not supported; "
                "supported are Transformer, Pooling and Normalize"
            )
    prompts = (_json(checkpoint, "config_sentence_transformers.json") or {}).get("prompts") or {}
    for prompt, option in (("query", "query_prefix"), ("document", "document_prefix")):
        if prompts.get(prompt):
            settings[option] = prompts[prompt]
    return settings


def longest_input(model: Any) -> int | None:
    """Return how many positions a model has embeddings for, ``None`` if it is not limited."""
    embeddings = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    if embeddings is None:
        return getattr(model.config, "max_position_embeddings", None)
    # RoBERTa counts positions from behind the padding id.
    offset = 0 if embeddings.padding_idx is None else embeddings.padding_idx + 1
    return embeddings.num_embeddings - offset


def _pooling(checkpoint: str, config: dict[str, Any] | None) -> str:
    config = config or {}
    modes = [key.removeprefix("pooling_mode_") for key in config if key.startswith("pooling_mode_")]
    chosen = [mode for mode in modes if config[f"pooling_mode_{mode}"]]
    if isinstance(config.get("pooling_mode"), str):
        chosen = [config["pooling_mode"]]
    known = {
        "cls_token": "cls",
        "cls": "cls",
        "mean_tokens": "mean",
        "mean": "mean",
        "lasttoken": "last",
    }
    if len(chosen) != 1 or chosen[0] not in known:
        raise InputError(
            f"{checkpoint} pools by {' and '.join(chosen) or 'nothing'}, which is not supported; "
            "supported are cls, mean and last (give pooling to override)"
        )
    return known[chosen[0]]


def _check_place(checkpoint: str) -> None:
    path = Path(checkpoint)
    if path.is_dir() and not (path / "config.json").is_file():
        raise InputError(f"{checkpoint} is not a checkpoint: the folder has no config.json")
    looks_like_path = path.is_absolute() or checkpoint.startswith((".", "~"))
    if not path.is_dir() and (looks_like_path or checkpoint.count("/") > 1):
        raise InputError(f"no such checkpoint folder: {checkpoint}")
    if not path.is_dir():
        # A missing file of the hub is no error below, so whether it can be reached is asked here.
        with quietly(), one_line_errors(checkpoint):
            transformers.utils.cached_file(checkpoint, "config.json")


def read_weights(checkpoint: str) -> dict[str, torch.Tensor]:
    """Return the weights of a checkpoint, on the CPU; nothing of the files is executed."""
    path = _file(checkpoint, "model.safetensors")
    if path is not None:
        from safetensors.torch import load_file

        return load_file(path)
    path = _file(checkpoint, "pytorch_model.bin")
    if path is None:
        raise InputError(f"{checkpoint} has neither model.safetensors nor pytorch_model.bin")
    return _torch_weights(path)


def _torch_weights(path: str) -> dict[str, torch.Tensor]:
    return torch.load(path, map_location="cpu", weights_only=True)


def _file(checkpoint: str, name: str) -> str | None:
    if Path(checkpoint).is_dir():
        path = Path(checkpoint) / name
        return str(path) if path.is_file() else None
    return transformers.utils.cached_file(
        checkpoint, name, _raise_exceptions_for_missing_entries=False
    )


def _json(checkpoint: str, name: str) -> Any:
    with quietly(), one_line_errors(checkpoint):
        path = _file(checkpoint, name)
        return None if path is None else json.loads(Path(path).read_text(encoding="utf-8"))


@contextlib.contextmanager
def one_line_errors(checkpoint: str) -> Iterator[None]:
    """Turn what loading a checkpoint can raise into one InputError that names it."""
    try:
        yield
    except InputError:
        raise
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{checkpoint} has weights that could run code when loaded, or are damaged; get the "
            "checkpoint as safetensors"
        ) from error
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise InputError(f"cannot load the checkpoint {checkpoint}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "couldn't connect" in text or "offline" in text.lower() or "Max retries" in text:
        return (
            "it is no folder here, not in the hub's cache, and the hub cannot be reached; "
            "check the name, or give a folder"
        )
    return text if len(text) <= 300 else f"{text[:300]} …"


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep loading bars and remarks on unused weights off the terminal; errors are raised."""
    log = transformers.utils.logging
    verbosity, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    # transformers otherwise asks the hub to convert a checkpoint that has no safetensors.
    conversion = os.environ.get("DISABLE_SAFETENSORS_CONVERSION")
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if bars:
            log.enable_progress_bar()
        if conversion is None:
            del os.environ["DISABLE_SAFETENSORS_CONVERSION"]
        else:
            os.environ["DISABLE_SAFETENSORS_CONVERSION"] = conversion
