"""What `import petrieve` offers: a store that one opens, and what it answers."""
