"""One searcher a file; all of them search as Pyserini's do."""
