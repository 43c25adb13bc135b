"""Views to embeddings: the frozen networks, their weights, and where they run."""
