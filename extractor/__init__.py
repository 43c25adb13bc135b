"""Photos to embeddings: the one maker of the cache."""
