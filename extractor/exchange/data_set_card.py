"""The data set card that stands in an exported folder: what is in it, for people and for Hugging Face's datasets."""

from petrieve.extractor.exchange.rows import REST
from petrieve.extractor.trunks.kinds import kind
from petrieve.store.cache import Cache
from petrieve.store.rows import own

TEMPLATE = """\
---
configs:
- config_name: default
  data_files:
  - split: train
    path: data/*.parquet
task_categories:
- image-feature-extraction
---
# {photos:,} photos and their embeddings

Each row is a photo and the {dimension:,} numbers that a frozen {trunk} with {weights} weights makes of it, as `petrieve export` has written them. The photos
themselves are not here.

| column | |
|---|---|
| `photo`, `root` | where the photo is below its root (a folder, an archive, a prefix of a bucket); root and photo together are its path |
| `label`, `split` | what is said of it{own} |
| `embedding` | {dimension:,} × float32, not of unit length: compare them by their cosine. Made with fingerprint `{fingerprint}`; embeddings of another one are of another network |
| `length` | the embedding's |
| `digest` | BLAKE2b of the file, 16 bytes in hexadecimal: the same bytes, the same digest, the same embedding |
| `gone` | since when the photo was not found where it was; nothing where it is there |
| {rest} | what else is known of it; times are ISO 8601, in UTC |

`datasets.load_dataset` takes this folder, `pandas.read_parquet("data")`, `polars.scan_parquet("data/*.parquet")` and DuckDB's `FROM 'data/*.parquet'`
what is in `data/`. `petrieve import` reads the folder back into a store, bit by bit.
"""  # noqa: E501


def data_set_card(cache: Cache, photos: int) -> str:
    """The text of a README.md that says what a folder with N photos holds."""
    columns = own(cache.photo_schema)
    rest = [name for name in REST if name not in ("digest", "gone") and name in cache.photo_schema.names]
    return TEMPLATE.format(
        photos=photos,
        dimension=cache.dimension,
        trunk=kind(cache.made.kind).title,
        weights=cache.weights,
        own=", and in " + ", ".join(f"`{name}`" for name in columns) if columns else "",
        fingerprint=cache.fingerprint,
        rest=", ".join(f"`{name}`" for name in rest),
    )
