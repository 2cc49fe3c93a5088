"""Training encoders on a collection, with searchers as teachers."""
