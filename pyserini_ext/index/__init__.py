"""Document vectors and where they are kept."""
