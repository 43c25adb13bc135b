"""The commands. Each parses, makes one call per package, and prints."""
