"""How good a head is, in figures."""
