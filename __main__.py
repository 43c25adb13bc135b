"""`python -m petrieve` is the command."""

from petrieve.cli import main

main()
