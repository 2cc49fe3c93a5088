"""Single files of a checkpoint, in a folder or on the Hugging Face hub, without loading a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from pyserini_ext.errors import InputError

ACTIVATIONS = {"relu": "log1p", "log1p_relu": "log1p-log1p"}
"""Our names of the activations of sentence-transformers' SpladePooling, which leaves the logarithm
that is always there out of its own."""


class Module(NamedTuple):
    """One module of a sentence-transformers checkpoint: its class, and its folder in there."""

    kind: str
    path: str


def find_file(checkpoint: str, name: str) -> Path | None:
    """Find a file of a checkpoint.

    Parameters
    ----------
    checkpoint : str
        Folder, or name on the hub (fetched into the hub's cache when online).
    name : str
        Path within the checkpoint.

    Returns
    -------
    Path or None
        None if the checkpoint has no such file.

    Raises
    ------
    InputError
        If there is no such checkpoint.
    """
    folder = Path(checkpoint)
    if folder.is_dir():
        return folder / name if (folder / name).is_file() else None
    if folder.is_absolute() or checkpoint.startswith((".", "~")) or checkpoint.count("/") > 1:
        raise InputError(f"no such checkpoint folder: {checkpoint}")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError

    try:
        return Path(hf_hub_download(checkpoint, name))
    except EntryNotFoundError as error:
        # Offline, a file that the checkpoint never had looks like one that was never fetched.
        if isinstance(error, OSError) and not _in_cache(checkpoint):
            raise InputError(
                f"{checkpoint} is no folder here, not in the hub's cache, and the hub cannot be "
                "reached; check the name, or give a folder"
            ) from error
        return None
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{checkpoint} is no folder here and cannot be had from the hub: {reason}"
        ) from error


def read_json(path: Path) -> Any:
    """Read a JSON file; an error names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from error


def modules_of(checkpoint: str, route: str) -> list[Module]:
    """Return the modules that sentence-transformers puts a text through.

    Parameters
    ----------
    checkpoint : str
        Folder, or name on the hub.
    route : {"query", "document"}
        Which side, where the checkpoint has a router between them.

    Returns
    -------
    list of Module
        Empty if the checkpoint is not one of sentence-transformers.
    """
    found = find_file(checkpoint, "modules.json")
    if found is None:
        return []
    modules = [_module(entry["type"], entry["path"]) for entry in read_json(found)]
    out: list[Module] = []
    for module in modules:
        if module.kind != "Router":
            out.append(module)
            continue
        router = find_file(checkpoint, inside(module.path, "router_config.json"))
        if router is None:
            raise InputError(f"{checkpoint} has a Router without its router_config.json")
        config = read_json(router)
        if route not in config["structure"]:
            known = ", ".join(config["structure"])
            raise InputError(f"{checkpoint} has no {route} side; its router knows {known}")
        out += [
            _module(config["types"][name], inside(module.path, name))
            for name in config["structure"][route]
        ]
    return out


def prompt_of(checkpoint: str, route: str) -> str:
    """Return what sentence-transformers puts before a text of a route, most often nothing."""
    found = find_file(checkpoint, "config_sentence_transformers.json")
    prompts = (read_json(found).get("prompts") or {}) if found else {}
    return prompts.get(route) or ""


def splade_settings(checkpoint: str) -> dict[str, Any]:
    """Read how a SparseEncoder of sentence-transformers encodes documents.

    Parameters
    ----------
    checkpoint : str
        Folder, or name on the hub.

    Returns
    -------
    dict
        ``folder`` of the language model, ``activation``, ``pooling``, and ``max_length`` where it
        is limited; empty if it is no such checkpoint.

    Raises
    ------
    InputError
        If documents need a module that is not supported here.
    """
    modules = modules_of(checkpoint, "document")
    kinds = [module.kind for module in modules]
    if "SpladePooling" not in kinds:
        return {}
    if len(kinds) != 2 or kinds[0] not in ("Transformer", "MLMTransformer"):
        raise InputError(
            f"{checkpoint} puts documents through {' and '.join(kinds)}, which is not supported; "
            "supported is a language model and SpladePooling"
        )
    model, pooling = modules
    out: dict[str, Any] = {"folder": model.path}
    config = find_file(checkpoint, inside(pooling.path, "config.json"))
    settings = read_json(config) if config else {}
    name = settings.get("activation_function", "relu")
    out["activation"] = ACTIVATIONS.get(name, name)
    out["pooling"] = settings.get("pooling_strategy", "max")
    limits = find_file(checkpoint, inside(model.path, "sentence_bert_config.json"))
    if limits is not None and (length := read_json(limits).get("max_seq_length")):
        out["max_length"] = length
    return out


def inside(folder: str, name: str) -> str:
    """Join a folder of a checkpoint, which may be the checkpoint itself, and a name in it."""
    return f"{folder}/{name}" if folder else name


def _in_cache(checkpoint: str) -> bool:
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(HF_HUB_CACHE) / f"models--{checkpoint.replace('/', '--')}" / "snapshots"
    return any(folder.glob("*/*"))


def _module(type_name: str, path: str) -> Module:
    return Module(type_name.rsplit(".", 1)[-1], path)
