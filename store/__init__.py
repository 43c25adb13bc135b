"""The store: what is kept of photos, and how it stays whole."""
