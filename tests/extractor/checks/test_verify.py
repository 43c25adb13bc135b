"""Damage to a store: found by `verify`, or without effect; and each finding names what mends it."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from conftest import Done
from damaging import changed_table, damages, findings, harmless_or_found, rows_of, tables
from PIL import Image
from planting import of_trunk, whole
from safetensors import safe_open
from safetensors.numpy import save_file

from petrieve.classifier import head
from petrieve.store.cache import Cache
from petrieve.store.errors import PetrieveError
from petrieve.store.known import known

Run = Callable[..., Done]


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


def test_a_photo_that_has_rotted_beyond_reading_is_found(run: Run, photos: Path, tmp_path: Path) -> None:
    run("embed", photos, "--store", tmp_path / "s", "--weights", "bundled")
    rotten = sorted(photos.rglob("*.jpg"))[0]
    status = rotten.stat()
    rotten.write_bytes(bytes(status.st_size))
    os.utime(rotten, ns=(status.st_atime_ns, status.st_mtime_ns))
    done = run("verify", "--store", tmp_path / "s", "--sample", 40, "--json")
    (finding,) = done.json["findings"]
    assert (done.status, finding["remedy"]) == (1, "bring it back from a copy")
    assert f"{rotten} has the size and time that it had, and can no longer be read: not a photo" == finding["what"]


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


def test_all_finds_what_was_edited_in_place_and_the_sample_says_what_it_is_one_of(
    run: Run, store: Path, drawn: Path, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(drawn, tmp_path / "photos"))
    run("embed", moved, "--store", store)
    edited, rotten, gone, *_ = sorted((moved / "dog").iterdir())
    for photo, data in ((edited, edited.read_bytes()[:-1] + b"\0"), (rotten, bytes(rotten.stat().st_size))):
        status = photo.stat()
        photo.write_bytes(data)
        os.utime(photo, ns=(status.st_atime_ns, status.st_mtime_ns))
    gone.unlink()
    done = run("verify", "--store", store, "--sample", 1)
    assert (done.status, done.out.splitlines()[1]) == (
        0,
        "1 of 80 photos that are not gone, evenly spread, were embedded again; `--all` reads all",
    )
    done = run("verify", "--store", store, "--sample", 1, "--all", "--json")
    assert (done.status, [done.json[key] for key in ("photos", "present", "opened", "sampled")]) == (1, [80, 80, 80, 1])
    assert [os.path.abspath(path) for path in done.json["changed"]] == [str(gone)]
    named = [
        f"{photo} has the size and time that it had when it was embedded, and other bytes" for photo in (edited, rotten)
    ]
    assert sorted(one["what"] for one in done.json["findings"]) == named
    assert {one["remedy"] for one in done.json["findings"]} == {"`touch` it and run `cli.py embed` again"}


def test_a_store_that_has_seen_every_kind_of_run_is_well(run: Run, photos: Path, tmp_path: Path) -> None:
    store = ("--store", tmp_path / "s")
    first, second, third, *_ = sorted(photos.rglob("*.*"))
    (tmp_path / "l.csv").write_text(
        f"photo,label,age,seen,sure\n{first.relative_to(photos)},tiger,3.5,2026-10-01 10:00:00,true\n"
        f"{second.relative_to(photos)},,,,\n"
    )
    run("embed", photos, *store, "--weights", "bundled")
    run("embed", photos, *store, "--labels", tmp_path / "l.csv")
    Image.new("RGB", (300, 260), "teal").save(first)
    second.rename(photos / "moved.jpg")
    third.write_bytes(b"broken")
    done = run("embed", photos, *store, "--prune", "--json").json
    assert [done[key] for key in ("embedded", "copied", "unreadable", "missing")] == [1, 1, 1, 1]
    (tmp_path / "l.csv").write_text(f"photo,label,age\n{first.relative_to(photos)},lion,4\n")
    run("embed", photos, *store, "--labels", tmp_path / "l.csv")
    assert findings(run, tmp_path / "s", "--sample", 40) == []
    told = [row for batch in Cache.open(tmp_path / "s").every_photo() for row in batch.to_pylist()]
    (row,) = [row for row in told if row["label"] == "lion"]
    assert (row["age"], row["sure"]) == (4, True)


@pytest.mark.parametrize("kind", ["flipped", "cut", "gone"])
def test_damage_to_any_file_of_a_store_is_found_or_harmless(run: Run, store: Path, photos: Path, kind: str) -> None:
    (photos / "bad.jpg").write_bytes(b"no photo")
    run("embed", photos, "--store", store)
    outcomes = harmless_or_found(run, store, damages(0)[kind], 2 if kind == "flipped" else 1)
    assert outcomes["data .lance found"]


def newest_manifest(table: Path) -> Path:
    return min((table / "_versions").glob("*.manifest"))


@pytest.mark.parametrize("table", ["photos", "vectors"])
def test_any_bit_of_a_manifest_is_missed_by_every_command(run: Run, store: Path, photos: Path, table: str) -> None:
    """Lance keeps no checksum of it: one bit made 33 of 80 rows unseen, and counted 47."""
    (photos / "bad.jpg").write_bytes(b"no photo")
    run("embed", photos, "--store", store)
    file = newest_manifest(tables(store)[table])
    whole = file.read_bytes()
    for place in range(0, 8 * len(whole), 97):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        file.write_bytes(damaged)
        with pytest.raises(PetrieveError, match="is damaged: it is not as the last run left it"):
            Cache.open(store)
    for words in (["info"], ["verify"], ["fit-head"], ["embed", photos]):
        done = run(*words, "--store", store)
        assert done.status == 1
        assert "is damaged" in done.out + done.err


@pytest.mark.parametrize(("table", "made"), [("photos", "copied"), ("vectors", "embedded")])
def test_a_damaged_manifest_goes_and_the_next_run_makes_up_for_it(
    run: Run, photos: Path, tmp_path: Path, table: str, made: str
) -> None:
    last = sorted(photos.rglob("*.*"))[-1]
    last = last.rename(tmp_path / last.name)
    run("embed", photos, "--store", tmp_path / "s", "--weights", "bundled")
    run("embed", photos, last, "--store", tmp_path / "s")
    before = set(known(Cache.open(tmp_path / "s")))
    file = newest_manifest(tables(tmp_path / "s")[table])
    file.write_bytes(file.read_bytes() + b"\0")
    (found,) = findings(run, tmp_path / "s")
    assert f"{file} is damaged: it is not as the last run left it; remove that file and run `cli.py embed`" in found
    file.unlink()
    assert run("embed", photos, last, "--store", tmp_path / "s", "--json").json[made] == 1
    assert set(known(Cache.open(tmp_path / "s"))) == before
    assert findings(run, tmp_path / "s", "--sample", 41) == []


def test_a_run_that_was_killed_leaves_a_manifest_that_nothing_is_held_against(
    run: Run, photos: Path, tmp_path: Path
) -> None:
    run("embed", photos, "--store", tmp_path / "s", "--weights", "bundled")
    cache = Cache.open(tmp_path / "s")
    cache.commit(list(whole(cache).values())[:3], known(cache))
    assert findings(run, tmp_path / "s", "--sample", 40) == []


def swapped(table: pa.Table) -> pa.Table:
    order = [1, 0, *range(2, len(table))]
    return table.set_column(
        table.schema.get_field_index("embedding"), table.schema.field("embedding"), table["embedding"].take(order)
    )


def relabelled(table: pa.Table) -> pa.Table:
    labels = pa.array(["dog", *table["label"].to_pylist()[1:]])
    assert labels != table["label"].combine_chunks()
    return table.set_column(table.schema.get_field_index("label"), "label", labels)


def with_first(table: pa.Table, value: float) -> pa.Table:
    field = table.schema.field("embedding")
    first = pa.FixedSizeListArray.from_arrays(pa.array(np.full(1024, value, np.float16)), 1024)
    column = pa.chunked_array([first, *table["embedding"].slice(1).chunks])
    return table.set_column(table.schema.get_field_index("embedding"), field, column)


@pytest.mark.parametrize(
    ("command", "moment"),
    # Microseconds. 65,536 years later, the last 16 bits of the year are what they were.
    [("verify", 2**62), ("embed", 2**62), ("similar", 2**62), ("verify", 65_536 * 31_556_952_000_000)],
)
def test_a_date_that_no_calendar_has_is_damage(run: Run, store: Path, drawn: Path, command: str, moment: int) -> None:
    def late(table: pa.Table) -> pa.Table:
        field = table.schema.field("modified")
        moments = pa.array([moment, *table["modified"].cast("int64").to_pylist()[1:]]).cast(field.type)
        return table.set_column(table.schema.get_field_index("modified"), field, moments)

    changed_table(store / "photos.lance", late)
    photo = [] if command == "verify" else sorted(drawn.rglob("*.jpg"))[:1]
    done = run(command, *photo, "--store", store)
    assert done.status == 1
    assert "a date in column 'modified' is damaged" in done.out + done.err


@pytest.mark.parametrize(
    ("table", "change", "what"),
    [
        ("vectors", swapped, "its checksum does not fit"),
        ("photos", relabelled, "its checksum does not fit"),
        ("vectors", lambda table: with_first(table, 0), "zeros alone"),
        ("vectors", lambda table: with_first(table, float("nan")), "holds no numbers"),
        ("vectors", lambda table: with_first(table, 1), "its checksum does not fit"),
        ("photos", lambda table: pa.concat_tables([table, table.slice(3, 1)]), "more than one row"),
    ],
    ids=["swapped", "relabelled", "zero", "nan", "ones", "twice"],
)
def test_a_wrong_row_is_found(
    run: Run, store: Path, table: str, change: Callable[[pa.Table], pa.Table], what: str
) -> None:
    changed_table(tables(store)[table], change)
    found = findings(run, store, "--sample", 41)
    assert any(what in one and "with a new `--store`" in one for one in found), found


def test_a_content_that_is_there_twice_is_harmless(run: Run, store: Path, drawn: Path) -> None:
    photo = sorted(drawn.rglob("*.jpg"))[0]
    fitted = run("fit-head", "--store", store).out
    before = [run(*words, "--store", store).out for words in (("similar", photo), ("predict", photo))]
    changed_table(of_trunk(store).vectors, lambda table: pa.concat_tables([table, table.slice(3, 9)]))
    assert findings(run, store, "--sample", 40) == []
    assert [run(*words, "--store", store).out for words in (("similar", photo), ("predict", photo))] == before
    assert run("fit-head", "--store", store).out.splitlines()[:2] == fitted.splitlines()[:2]


@pytest.mark.parametrize(("table", "made"), [("photos", "copied"), ("vectors", "embedded")])
def test_a_table_that_has_lost_its_newest_version_is_as_before_and_made_up_for(
    run: Run, photos: Path, tmp_path: Path, table: str, made: str
) -> None:
    last = sorted(photos.rglob("*.*"))[-1]
    data = last.read_bytes()
    last.unlink()
    run("embed", photos, "--store", tmp_path / "s", "--weights", "bundled")
    versions = tables(tmp_path / "s")[table] / "_versions"
    before = {file.name for file in versions.iterdir()}
    last.write_bytes(data)
    run("embed", photos, "--store", tmp_path / "s")
    for file in versions.glob("*.manifest"):
        if file.name not in before:
            file.unlink()
    assert ["has no embedding by" in one for one in findings(run, tmp_path / "s")] == [True] * (table == "vectors")
    assert run("embed", photos, "--store", tmp_path / "s", "--json").json[made] == 1
    assert findings(run, tmp_path / "s") == []


def test_an_embedding_that_is_not_its_photos_is_found_by_the_sample(run: Run, store: Path) -> None:
    """Though its checksum is right: the row was written so."""
    cache = Cache.open(store)
    one, *others = whole(cache).values()
    other = min(others, key=lambda row: float(row.embedding @ one.embedding))
    cache._vectors.delete(f"_rowid IN ({', '.join(map(str, rows_of(cache, one.digest)))})")
    cache.commit([replace(one, views=other.views)], known(cache))
    (found,) = findings(run, store, "--sample", 40)
    assert "is not its own" in found
    assert Path(one.photo.path).name in found


def test_a_head_of_other_classes_is_found(run: Run, store: Path) -> None:
    cache = Cache.open(store)
    fitted = head.load(cache)
    head.save(head.Head(fitted.weight, fitted.bias, ("cat", "hamster"), fitted.fingerprint, fitted.report), cache)
    (found,) = findings(run, store)
    assert "'hamster', which no photo in the store is labelled; run `cli.py fit-head`" in found
    assert run("fit-head", "--store", store).status == 0
    assert findings(run, store) == []


def test_a_head_with_another_number_in_it_is_found(run: Run, store: Path) -> None:
    file = of_trunk(store).head
    with safe_open(str(file), "numpy") as opened:
        weight, bias, metadata = opened.get_tensor("weight"), opened.get_tensor("bias"), opened.metadata()
    weight[0, 0] += 1
    save_file({"weight": weight, "bias": bias}, file, metadata)
    assert "is damaged, or of an earlier release; run `cli.py fit-head`" in findings(run, store)[0]


def test_a_fragment_that_is_gone_is_found(run: Run, store: Path) -> None:
    next((of_trunk(store).vectors / "data").iterdir()).unlink()
    (found,) = findings(run, store)
    assert "run `cli.py embed` with a new `--store`" in found


def test_another_trunks_fingerprint_is_found(run: Run, store: Path) -> None:
    before = of_trunk(store).path
    card = json.loads((store / "store.json").read_text())
    del card["digest"]  # as an earlier release wrote it
    other = {**card["trunks"][0], "fingerprint": "0" * 64}
    (store / "store.json").write_text(json.dumps({**card, "trunks": [other]}))
    before.rename(of_trunk(store).path)
    assert "was made with densenet121 and weights bundled (00000000)" in findings(run, store)[0]
