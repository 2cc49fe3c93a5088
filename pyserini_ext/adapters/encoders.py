"""Encoder plugins in the shape that Pyserini's commands expect.

Nothing here imports Pyserini: its classes are called by name and arguments only, never subclassed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pyserini_ext import plugins
from pyserini_ext.errors import InputError

if TYPE_CHECKING:
    import numpy as np


def _same(value: Any) -> Any:
    return value


def _spaced(prefix: str) -> str:
    # Pyserini puts a space between prefix and text; ours are taken literally.
    return f"{prefix} "


OPTIONS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "tokenizer": ("tokenizer", _same),
    "query_prefix": ("query_prefix", _spaced),
    "prefix": ("document_prefix", _spaced),
    "pooling": ("pooling", _same),
    "l2_norm": ("normalise", lambda _: True),
    "fp16": ("dtype", lambda _: "float16"),
    "max_length": ("max_length", _same),
    "multimodal": ("multimodal", _same),
    "instruction_config": ("instruction_config", _same),
    "explicit_truncate": ("explicit_truncate", _same),
    "add_sep": ("add_sep", _same),
    "use_openai": ("use_openai", _same),
}
"""What Pyserini's options (argparse names) are called by an encoder plugin, and their values."""


def encoder_options(
    name: str, given: Mapping[str, Any], *, document: bool, kind: str = "encoder"
) -> dict[str, Any]:
    """Translate Pyserini's options into those of an encoder plugin; constructs nothing.

    Parameters
    ----------
    name : str
        A registered encoder.
    given : mapping
        What the user gave, by argparse name; options left at their defaults do not belong here,
        because the plugin's own defaults (a preset's pooling, say) stand for them.
    document : bool
        Whether documents are encoded: ``--max-length`` is then ``document_max_length``.
    kind : {"encoder", "sparse-encoder"}

    Returns
    -------
    dict
        Options for :func:`plugins.create`, without the device.

    Raises
    ------
    InputError
        When the plugin cannot be told something that the user asked for.
    """
    taken = plugins.parameters(plugins.load(kind, name))
    options: dict[str, Any] = {}

    def put(option: str, value: Any, flag: str) -> None:
        if taken is not None and option not in taken:
            raise InputError(
                f"{flag} cannot be used with the encoder {name!r}, which has no option {option!r}; "
                f"it takes {', '.join(taken) or 'no options'}"
            )
        if option in options:
            raise InputError(f"{flag} sets the option {option!r}, which is already given")
        options[option] = value

    if given.get("encoder") not in (None, name):
        put("checkpoint", given["encoder"], "--encoder (a checkpoint)")
    for dest, (option, convert) in OPTIONS.items():
        if dest in given:
            renamed = "document_max_length" if document and dest == "max_length" else option
            put(renamed, convert(given[dest]), "--" + dest.replace("_", "-"))
    for option, value in plugins.read_options(given.get("encoder_arg", ())).items():
        put(option, value, f"--encoder-arg {option}")
    return options


def create_encoder(
    name: str, options: Mapping[str, Any], device: str, asked: bool, kind: str = "encoder"
) -> Any:
    """Make an encoder on a device.

    Parameters
    ----------
    name : str
        A registered encoder.
    options : mapping
        From :func:`encoder_options`.
    device : str
        As torch names devices.
    asked : bool
        Whether the user named the device. A device that an encoder without the option ``device``
        does not know is refused only then.
    kind : {"encoder", "sparse-encoder"}
    """
    taken = plugins.parameters(plugins.load(kind, name))
    if taken is None or "device" in taken:
        options = {"device": device, **options}
    elif asked and device != "cpu":
        raise InputError(
            f"--device {device} cannot be used with the encoder {name!r}, which has no option "
            "'device'; leave --device out"
        )
    return plugins.create(kind, name, **options)


class QueryAdapter:
    """An encoder plugin as one of Pyserini's query encoders.

    Parameters
    ----------
    encoder : Encoder
        Has ``encode(queries) -> float32 (n, d)``.
    """

    has_model = True
    has_encoded_query = False

    def __init__(self, encoder: Any) -> None:
        self.encoder = encoder

    def encode(self, query: str, **_: Any) -> np.ndarray:
        """Return the vector of one query, float32 of shape (d,)."""
        return self.encode_batch([query])[0]

    def encode_batch(self, queries: Sequence[str]) -> np.ndarray:
        """Return the vectors of many queries, float32 of shape (n, d)."""
        return as_matrix(self.encoder.encode(list(queries)), len(queries), self.encoder)


class DocumentAdapter:
    """An encoder plugin as one of Pyserini's document encoders.

    Parameters
    ----------
    encoder : Encoder
        Its ``encode_documents(texts, titles)`` is used when it has one, else ``encode`` on title
        and text joined by a space (as Pyserini joins them).
    """

    def __init__(self, encoder: Any) -> None:
        self.encoder = encoder

    def encode(
        self,
        texts: Sequence[str],
        titles: Sequence[str] | None = None,
        fp16: bool = False,
        max_length: int | None = None,
        add_sep: bool = False,
        **fields: Any,
    ) -> np.ndarray:
        """Return the vectors of documents, float32 of shape (n, d).

        `fp16`, `max_length` and `add_sep` are what Pyserini's command passes with every batch;
        the encoder was told about them when it was made.

        Raises
        ------
        InputError
            For fields other than text and title.
        """
        check_fields(fields)
        texts, titles = present(texts, titles)
        if hasattr(self.encoder, "encode_documents"):
            vectors = self.encoder.encode_documents(texts, titles)
        elif titles is None:
            vectors = self.encoder.encode(texts)
        else:
            joined = [f"{title} {text}" for title, text in zip(titles, texts, strict=True)]
            vectors = self.encoder.encode(joined)
        return as_matrix(vectors, len(texts), self.encoder)

    @property
    def dimension(self) -> int:
        """Length of a vector: the encoder's ``dimension``, else that of an encoded word."""
        known = getattr(self.encoder, "dimension", None)
        return int(known) if known else self.encode(["a"]).shape[1]


def check_fields(fields: Mapping[str, Any]) -> None:
    """Refuse fields that encoder plugins do not read."""
    if fields:
        raise InputError(
            f"--fields {' '.join(name.removesuffix('s') for name in fields)}: an encoder "
            "plugin reads only the fields text and title"
        )


def present(
    texts: Sequence[str | None], titles: Sequence[str | None] | None
) -> tuple[list[str], list[str] | None]:
    """Return fields with the empty string where a document lacks one: Pyserini has None there."""
    return (
        [text or "" for text in texts],
        None if titles is None else [title or "" for title in titles],
    )


def as_matrix(vectors: Any, rows: int, maker: Any) -> np.ndarray:
    """Return what `maker` gave as float32 (rows, d), or say what is wrong with it."""
    import numpy as np

    matrix = np.ascontiguousarray(vectors, dtype=np.float32)
    name = type(maker).__name__
    if matrix.ndim != 2 or len(matrix) != rows:
        raise InputError(f"{name} returned shape {matrix.shape} for {rows} texts; want (n, d)")
    if not np.isfinite(matrix).all():
        row = int(np.flatnonzero(~np.isfinite(matrix).all(axis=1))[0])
        raise InputError(f"{name} returned a vector that is not finite (number {row} of its batch)")
    return matrix
