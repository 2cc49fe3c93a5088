"""From what a user types to a multi-vector encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyserini_ext import plugins
from pyserini_ext.encode.multivector import MultiVectorEncoder
from pyserini_ext.encode.presets import Preset
from pyserini_ext.errors import InputError


def make_multivector_encoder(name_or_path: str | Path, **options: Any) -> Any:
    """Make a multi-vector encoder from what a user types.

    Parameters
    ----------
    name_or_path : str or Path
        A checkpoint folder or hub name; the name of a preset (``minilm``), whose body is taken;
        or a plugin whose objects have ``encode_queries`` and ``encode_documents`` of the shapes of
        :class:`~pyserini_ext.encode.multivector.MultiVectorEncoder`.
    **options
        Of the encoder. ``checkpoint`` takes the place of the preset's.

    Raises
    ------
    InputError
        If there is neither, or it gives one vector a text.
    """
    name = str(name_or_path)
    if name in plugins.names("encoder") or not ("/" in name or Path(name).is_dir()):
        found = plugins.load("encoder", name)
        if not isinstance(found, Preset):
            encoder = plugins.create("encoder", name, **options)
            if not hasattr(encoder, "encode_queries"):
                raise InputError(f"encoder {name!r} gives one vector a text, not one a token")
            return encoder
        name = options.pop("checkpoint", None) or found.location()
    elif "checkpoint" in options:
        raise InputError("the encoder is a checkpoint already; leave checkpoint out")
    taken = plugins.parameters(MultiVectorEncoder) or {}
    for option in options:
        if option not in taken:
            raise InputError(
                f"a multi-vector encoder has no option {option!r}; it takes "
                f"{', '.join(each for each in taken if each != 'checkpoint')}"
            )
    return MultiVectorEncoder(name, **options)
