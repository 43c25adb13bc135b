"""Near-copies."""
