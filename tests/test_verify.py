"""Damage to a store: found by `verify`, or without effect; and each finding names what mends it."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest
from conftest import Done
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save_file

from classifier import head
from extractor.cache import Cache

Run = Callable[..., Done]


def findings(run: Run, store: Path, *words: object) -> list[str]:
    """What is wrong, by `verify`; a store that cannot be opened says so as an error."""
    done = run("verify", "--store", store, "--json", *words)
    if not done.out:
        assert (done.status, done.err.count("\n")) == (1, 1)
        return [done.err]
    found = [f"{one['what']}; {one['remedy']}" for one in done.json["findings"]]
    assert done.status == bool(found)
    return found


def contents(store: Path) -> object:
    """All that a store says, rows in the order of their ids."""
    cache = Cache.open(store)
    rows = [
        (photo, vector.tobytes())
        for batch, many in cache.embeddings()
        for photo, vector in zip(batch.to_pylist(), many, strict=True)
    ]
    fitted = head.load(cache)
    return rows, cache.unreadable(), fitted.classes, fitted.weight.tobytes(), fitted.bias.tobytes(), fitted.report


def changed_table(store: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Write the table of embeddings anew, as somebody else's tool might."""
    place = str(store / "embeddings.lance")
    table = change(lance.dataset(place).to_table())
    shutil.rmtree(place)
    lance.write_dataset(table, place, enable_stable_row_ids=True)


def test_a_sound_store_is_well(run: Run, store: Path) -> None:
    done = run("verify", "--store", store)
    assert (done.status, done.out.splitlines()[-1], done.err) == (0, "all is well", "")
    document = run("verify", "--store", store, "--json", "--sample", 7).json
    assert (document["photos"], document["sampled"], document["changed"], document["findings"]) == (40, 7, [], [])
    assert document["worst_cosine"] > 0.9999


def test_photos_that_changed_or_went_away_are_no_damage(run: Run, photos: Path, tmp_path: Path) -> None:
    run("embed", photos, "--store", tmp_path / "s", "--weights", "bundled")
    gone, changed = sorted(photos.rglob("*.*"))[:2]
    gone.unlink()
    Image.new("RGB", (300, 260), "teal").save(changed)
    document = run("verify", "--store", tmp_path / "s", "--sample", 40, "--json").json
    assert document["findings"] == []
    assert {os.path.abspath(path) for path in document["changed"]} == {str(gone), str(changed)}


def test_a_photo_with_other_bytes_behind_the_same_size_and_time_is_found_and_mended(
    run: Run, photos: Path, tmp_path: Path
) -> None:
    run("embed", photos, "--store", tmp_path / "s", "--weights", "bundled")
    rotten = sorted(photos.rglob("*.png"))[0]
    status, data = rotten.stat(), bytearray(rotten.read_bytes())
    data[-1] ^= 1  # in the checksum of PNG's last chunk
    rotten.write_bytes(data)
    os.utime(rotten, ns=(status.st_atime_ns, status.st_mtime_ns))
    (found,) = findings(run, tmp_path / "s", "--sample", 40)
    assert rotten.name in found
    assert "`touch` it and run `cli.py embed` again" in found
    rotten.touch()
    run("embed", photos, "--store", tmp_path / "s")
    assert findings(run, tmp_path / "s", "--sample", 40) == []


def swapped(table: pa.Table) -> pa.Table:
    order = [1, 0, *range(2, len(table))]
    return table.set_column(
        table.schema.get_field_index("embedding"), table.schema.field("embedding"), table["embedding"].take(order)
    )


def with_first(table: pa.Table, value: float) -> pa.Table:
    field = table.schema.field("embedding")
    first = pa.FixedSizeListArray.from_arrays(pa.array(np.full(1024, value, np.float16)), 1024)
    column = pa.chunked_array([first, *table["embedding"].slice(1).chunks])
    return table.set_column(table.schema.get_field_index("embedding"), field, column)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (swapped, "is not its own"),
        (lambda table: with_first(table, 0), "zeros alone"),
        (lambda table: with_first(table, float("nan")), "holds no numbers"),
        (lambda table: with_first(table, 1), "is not its own"),
        (lambda table: pa.concat_tables([table, table.slice(3, 1)]), "more than one row"),
    ],
    ids=["swapped", "zero", "nan", "ones", "twice"],
)
def test_a_wrong_row_is_found(run: Run, store: Path, change: Callable[[pa.Table], pa.Table], what: str) -> None:
    changed_table(store, change)
    found = findings(run, store, "--sample", 41)
    assert any(what in one and "into a new store" in one for one in found), found


def test_a_head_of_other_classes_is_found(run: Run, store: Path) -> None:
    cache = Cache.open(store)
    fitted = head.load(cache)
    head.save(head.Head(fitted.weight, fitted.bias, ("cat", "hamster"), fitted.fingerprint, fitted.report), cache)
    (found,) = findings(run, store)
    assert "'hamster', which no photo in the store is labelled; run `cli.py fit-head`" in found
    assert run("fit-head", "--store", store).status == 0
    assert findings(run, store) == []


def test_a_head_with_another_number_in_it_is_found(run: Run, store: Path) -> None:
    file = store / "head.safetensors"
    with safe_open(str(file), "numpy") as opened:
        weight, bias, metadata = opened.get_tensor("weight"), opened.get_tensor("bias"), opened.metadata()
    weight[0, 0] += 1
    save_file({"weight": weight, "bias": bias}, file, metadata)
    assert "is damaged; run `cli.py fit-head`" in findings(run, store)[0]


def test_a_fragment_that_is_gone_is_found(run: Run, store: Path) -> None:
    next((store / "embeddings.lance" / "data").iterdir()).unlink()
    (found,) = findings(run, store)
    assert "run `cli.py embed` again" in found


def test_another_trunks_fingerprint_is_found(run: Run, store: Path) -> None:
    card = json.loads((store / "store.json").read_text())
    (store / "store.json").write_text(json.dumps({**card, "fingerprint": "0" * 64}))
    assert "was made with weights bundled (00000000)" in findings(run, store)[0]
