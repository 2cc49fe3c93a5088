"""An encoder that needs no model and a feedback method, as plugins for pyserini-ext."""

import re
import zlib

import numpy as np


class HashingEncoder:
    """Words as random directions, added up: bag of words in few dimensions."""

    def __init__(self, dimension=256):
        self.dimension = dimension

    def encode(self, queries):
        """Return one unit vector per text, float32 of shape (n, dimension)."""
        vectors = np.zeros((len(queries), self.dimension), dtype=np.float32)
        for vector, text in zip(vectors, queries, strict=True):
            for word in sorted(set(re.findall(r"\w+", text.lower()))):
                vector += self._direction(word)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.maximum(norms, 1e-9)

    def _direction(self, word):
        # crc32, unlike hash(), gives a word the same direction in every process.
        random = np.random.default_rng(zlib.crc32(word.encode()))
        return random.standard_normal(self.dimension, dtype=np.float32)


class DecayingAverage:
    """Average PRF in which each feedback document weighs `rate` times the one before it."""

    def __init__(self, depth=3, rate=0.5):
        self.depth = depth
        self.rate = rate

    def refine(self, queries, vectors, feedback, store):
        """Return the refined query vectors, float32 of the shape of `vectors`."""
        refined = np.array(vectors, dtype=np.float32)
        for row, hits in enumerate(feedback):
            documents = store.vectors(hits.docids[: self.depth])
            if len(documents):
                weights = self.rate ** np.arange(1 + len(documents))
                every = np.vstack((vectors[row], documents))
                refined[row] = np.average(every, axis=0, weights=weights)
        return refined
