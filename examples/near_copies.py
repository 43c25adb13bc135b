"""Lists pairs that may be copies, with a finer comb than `duplicates`: python near_copies.py STORE 0.9 | sort -r."""

import sys

import numpy as np

import petrieve

store, least = petrieve.open(sys.argv[1]), float(sys.argv[2])
listed = [{one.photo for one in group.photos} for group in store.duplicates()]
paths, embeddings = store.to_numpy()
standard = (embeddings - embeddings.mean(axis=0)) / (embeddings.std(axis=0) + 1e-6)
unit = standard / np.linalg.norm(standard, axis=1, keepdims=True)
for number, one in enumerate(unit[:-1]):
    alike = unit[number + 1 :] @ one
    for other in np.flatnonzero(alike >= least):
        pair = (paths[number], paths[number + 1 + other])
        if not any(group.issuperset(pair) for group in listed):
            print(f"{alike[other]:.3f}", *pair, sep="\t")
