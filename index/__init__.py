"""The cache to an index, and an index's neighbours."""
