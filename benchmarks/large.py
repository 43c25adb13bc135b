"""Large stores that look like real ones: as many embeddings as asked for, fitted to those of a real ImageNet trunk.

    python benchmarks/large.py --likeness                     how like the real ones they are, as JSON
    python benchmarks/large.py /tmp/large/6 --photos 1000000  a store of so many

The real ones are MobileNetV2's of 2,459 pet photos, 1,280 numbers each; 1,024 of their channels are drawn once, which
keeps what a pooled ReLU gives: nothing below zero, few large values. A made-up embedding is a real one moved by a
random mixture of the ways to its nearest neighbours, cut off at zero: a kernel density with a covariance of its own at
each point (Vincent and Bengio, "Manifold Parzen Windows", 2002). Batch n depends on the seed and n alone.
"""

import argparse
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

REAL = Path(__file__).resolve().parents[2] / "shared" / "embeddings" / "mobilenetv2.npy"
DIMENSION = 1024
BATCH = 4096
# Chosen so that as many made-up ones as real ones have the real ones' distances and local dimension: see --likeness.
NEIGHBOURS, PULL, WIDTH = 96, 0.5, 0.95


@cache
def real() -> np.ndarray:
    """The real embeddings, float32 (2459, 1024)."""
    channels = np.sort(np.random.default_rng(0).permutation(1280)[:DIMENSION])
    return np.ascontiguousarray(np.load(REAL)[:, channels].astype(np.float32))


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


@cache
def nearest(count: int) -> np.ndarray:
    """The places of each real embedding's `count` nearest others, by cosine."""
    cosines = unit(real()) @ unit(real()).T
    np.fill_diagonal(cosines, -2)
    return np.argsort(-cosines, axis=1)[:, :count]


def batch(
    number: int, seed: int = 0, size: int = BATCH, *, k: int = NEIGHBOURS, pull: float = PULL, width: float = WIDTH
) -> np.ndarray:
    """Made-up embeddings (size, 1024), float16."""
    from scipy.sparse import csr_matrix

    drawn = np.random.default_rng([seed, number])
    rows = drawn.integers(len(real()), size=size)
    ways = drawn.normal(pull / k, width / np.sqrt(k), size=(size, k)).astype(np.float32)
    # x + Σ w (neighbour − x) = (1 − Σ w) x + Σ w neighbour
    weights = np.concatenate([1 - ways.sum(axis=1, keepdims=True), ways], axis=1)
    places = np.concatenate([rows[:, None], nearest(k)[rows]], axis=1)
    mixed = csr_matrix((weights.ravel(), places.ravel(), np.arange(0, weights.size + 1, k + 1)), (size, len(real())))
    return np.maximum(mixed @ real(), 0).astype(np.float16)


def batches(photos: int, seed: int = 0) -> Iterator[np.ndarray]:
    """`photos` made-up embeddings in batches."""
    for start in range(0, photos, BATCH):
        yield batch(start // BATCH, seed)[: photos - start]


def figures(vectors: np.ndarray) -> dict[str, object]:
    """What makes a set of embeddings hard or easy to search, by cosine."""
    one = unit(vectors.astype(np.float32))
    cosines = one @ one.T
    np.fill_diagonal(cosines, -2)
    order = np.argsort(-cosines, axis=1)[:, :20]
    distances = np.sqrt(np.maximum(2 - 2 * np.take_along_axis(cosines, order, 1), 1e-12))
    # Levina and Bickel, "Maximum Likelihood Estimation of Intrinsic Dimension", 2004
    dimension = 1 / np.log(distances[:, -1:] / distances[:, :-1]).mean(axis=1)
    occurrences = np.bincount(order[:, :10].ravel(), minlength=len(one))
    # Radovanović et al., "Hubs in Space", 2010: the skewness of how often each is among others' ten nearest
    hubness = ((occurrences - occurrences.mean()) ** 3).mean() / occurrences.std() ** 3
    values = np.linalg.eigvalsh(np.cov(one.T))[::-1]
    share = np.cumsum(values) / values.sum()
    random = cosines[np.triu_indices(len(one), 1)]
    return {
        "variance_in_first": {n: round(float(share[n - 1]), 3) for n in (1, 8, 32, 128, 256)},
        "distance_to_1st_and_10th": [np.quantile(distances[:, n], (0.1, 0.5, 0.9)).round(3).tolist() for n in (0, 9)],
        "cosine_of_pairs": np.quantile(random, (0.01, 0.5, 0.99)).round(3).tolist(),
        "local_dimension": np.quantile(dimension, (0.1, 0.5, 0.9)).round(1).tolist(),
        "hubness": round(float(hubness), 2),
        "zeros": round(float((vectors == 0).mean()), 3),
    }


def store(folder: Path, photos: int, *, seed: int = 0) -> None:
    """Write a store of made-up photos. Its rows have no checksums, so `verify` finds fault with each."""
    import lance
    import pyarrow as pa

    from petrieve.extractor.trunks.kinds import FIRST
    from petrieve.store.cache import Cache
    from petrieve.store.folder import Made, Store
    from petrieve.store.pieces import PIECE
    from petrieve.store.rows import photo_schema, vector_schema

    cache = Cache.create(Store(folder), Made(FIRST.name, "made-up", "bundled"), dimension=DIMENSION)
    made = (vectors_table(vectors, n * BATCH) for n, vectors in enumerate(batches(photos, seed)))
    named = (photos_table(n, min(BATCH, photos - n)) for n in range(0, photos, BATCH))
    for place, schema, tables in (
        (cache.folder.vectors, vector_schema(DIMENSION), made),
        (cache.store.photos, photo_schema(), named),
    ):
        reader = pa.RecordBatchReader.from_batches(schema, tables)
        lance.write_dataset(reader, str(place), mode="append", max_rows_per_file=PIECE)


def add(cache: "Cache", vectors: np.ndarray, start: int, name: str) -> None:  # noqa: F821
    """Write more made-up photos into a store."""
    import lance
    import pyarrow as pa

    for place, rows in (
        (cache.folder.vectors, vectors_table(vectors, start, name)),
        (cache.store.photos, photos_table(start, len(vectors), name)),
    ):
        lance.write_dataset(pa.Table.from_batches([rows]), str(place), mode="append")


def digests(start: int, count: int, name: str = "pets") -> list[bytes]:
    """Those of made-up photos, numbered from `start`."""
    data = np.random.default_rng([start, len(name)]).bytes(16 * count)
    return [data[16 * n : 16 * n + 16] for n in range(count)]


def vectors_table(vectors: np.ndarray, start: int, name: str = "pets") -> "pa.RecordBatch":  # noqa: F821
    """Rows of a trunk's table for made-up photos, numbered from `start`."""
    import pyarrow as pa

    from petrieve.store.rows import vector_schema

    count = len(vectors)
    columns = [
        pa.array(digests(start, count, name), pa.binary(16)),
        pa.array([0] * count, pa.int32()),
        pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIMENSION),
        pa.array([bytes(8)] * count, pa.binary(8)),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=vector_schema(DIMENSION))


def photos_table(start: int, count: int, name: str = "pets") -> "pa.RecordBatch":  # noqa: F821
    """Rows of the table of photos for made-up ones, numbered from `start`."""
    import pyarrow as pa

    from petrieve.store.rows import photo_schema

    numbers = range(start, start + count)
    columns = {
        "uri": [f"{name}/{number:08d}.jpg" for number in numbers],
        "root": ["/made-up"] * count,
        "size": [1] * count, "modified": [1] * count, "width": [1] * count, "height": [1] * count,
        "digest": digests(start, count, name),
        "label": [("cat", "dog")[number % 2] for number in numbers],
        "checksum": [bytes(8)] * count,
    }  # fmt: skip
    schema = photo_schema()
    made = [pa.array(columns.get(field.name, [None] * count), field.type) for field in schema]
    return pa.RecordBatch.from_arrays(made, schema=schema)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--photos", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--likeness", action="store_true")
    asked = parser.parse_args()
    if asked.likeness:
        made = batch(0, asked.seed, len(real()))
        print(json.dumps({"real": figures(real()), "made": figures(made)}, indent=1))
    if asked.folder:
        store(asked.folder, asked.photos, seed=asked.seed)


if __name__ == "__main__":
    main()
