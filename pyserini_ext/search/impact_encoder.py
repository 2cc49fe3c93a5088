"""What an impact index says of itself, and the encoder of queries that belongs to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyserini_ext import jvm, plugins
from pyserini_ext.errors import InputError
from pyserini_ext.index.impact import IDF_FILE
from pyserini_ext.index.vector_jobs import FORMAT

KIND = "sparse-encoder"
CHECKPOINT = "inference-free"
"""The plugin that a checkpoint folder or hub name is read by."""


def read_info(index: str | Path) -> dict[str, Any] | None:
    """Return what an impact index of this package says of itself, from Lucene's commit.

    Returns
    -------
    dict or None
        None for an index of another origin.

    Raises
    ------
    InputError
        If a newer version of this package made it.
    """
    path = Path(index)
    written = jvm.autoclass("io.pyseriniext.Impacts").userData(str(path.absolute()))
    if written is None:
        return None
    info = json.loads(written)
    if info["format"] > FORMAT:
        raise InputError(
            f"{path} has format {info['format']}, this pyserini-ext reads up to {FORMAT}; install "
            "a newer one"
        )
    return info


def find_encoder(encoder: Any, path: Path, info: Mapping[str, Any] | None, **options: Any) -> Any:
    """Return the encoder that queries on an index need.

    Parameters
    ----------
    encoder : str, object or None
        A name is a registered encoder, else what Pyserini reads it as on an index of Pyserini, else
        a checkpoint. None: the encoder that the index says its documents were encoded with.
    path : Path
        The index.
    info : mapping or None
        From :func:`read_info`.
    **options
        For the encoder; they go before what the index says.

    Raises
    ------
    InputError
        If there is no such encoder, or the index says none.
    """
    if isinstance(encoder, str):
        return _make(encoder, path, info, options)
    if encoder is None:
        recorded = (info or {}).get("encoder")
        if recorded is None:
            raise InputError(
                f"{path} does not say what its documents were encoded with; name an encoder for "
                "queries (--sparse-encoder; python -m pyserini_ext plugins --kind sparse-encoder)"
            )
        return _make(recorded["name"], path, info, {**_recorded(path, info), **options})
    if not callable(getattr(encoder, "encode", None)):
        raise InputError(
            f"the encoder of an impact index is {type(encoder).__name__}; give the name of a "
            "checkpoint or an object with encode(query) -> {token: weight}"
        )
    if options:
        raise InputError(
            f"{next(iter(options))} is an option of encoders that are named; "
            f"{type(encoder).__name__} is made already"
        )
    return encoder


def check_encoder(encoder: Any, path: Path, info: Mapping[str, Any] | None) -> None:
    """Refuse an encoder that does not fit the index; what either does not say is not checked."""
    if info is None:
        return
    for key, what in (("tokenizer", "tokenizer"), ("idf_sha256", "idf table")):
        ours = getattr(encoder, {"tokenizer": "tokenizer_name"}.get(key, key), None)
        if None not in (ours, info[key]) and ours != info[key]:
            raise InputError(
                f"{path} was made with the {what} {info[key]}, and the encoder has {ours}; search "
                "with the encoder that belongs to the index, or build the index again"
            )


def _recorded(path: Path, info: Any) -> dict[str, Any]:
    options = dict(info["encoder"]["options"])
    if info["idf"] is not None and options.get("weights", "ones") != "ones":
        # The file of that table may be gone; the index has the table itself.
        options["weights"] = str(path / IDF_FILE)
    return options


def _make(name: str, path: Path, info: Mapping[str, Any] | None, options: Mapping[str, Any]) -> Any:
    known = name in plugins.names(KIND)
    if info is None and not known and not options:
        with jvm.pyserini_import():
            from pyserini.search.lucene import LuceneImpactSearcher
        encoder = LuceneImpactSearcher._init_query_encoder_from_str(name)
        if encoder is not None:
            return encoder
    said: dict[str, Any] = {}
    if info is not None and info["idf"] == "collection":
        # It lies in the index and nowhere else.
        said["weights"] = str(path / IDF_FILE)
    if info is not None and info["missing_idf"]:
        said["missing"] = info["missing_idf"]
    if said:
        taken = plugins.parameters(plugins.load(KIND, name if known else CHECKPOINT))
        said = {option: value for option, value in said.items() if taken is None or option in taken}
    return plugins.create_or_load(KIND, name, CHECKPOINT, **{**said, **options})
