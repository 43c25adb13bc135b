"""How embeddings are compared: each of them, in memory or streamed; or by codes in a file, where they are too many."""
