"""Trunks and embeddings for use elsewhere, and back."""
