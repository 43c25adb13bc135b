"""The run, through the command: what is new, what is known, what has changed, moved or gone."""

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Done
from embedding import again, repaint, rows, vectors
from planting import of_trunk, whole

from petrieve.extractor.embed import embed
from petrieve.extractor.query import query
from petrieve.extractor.trunks.trunk import load_trunk
from petrieve.store.cache import Cache
from petrieve.store.known import nothing
from petrieve.store.tables import opened

Run = Callable[..., Done]


def test_a_second_run_opens_nothing_and_keeps_every_row(run: Run, few: Path, tmp_path: Path) -> None:
    assert again(run, tmp_path / "s", few) == {"found": 6, "embedded": 6}
    before = vectors(tmp_path / "s")
    for photo in few.rglob("*.*"):  # the files are no longer photos, and look the same from outside
        status = photo.stat()
        photo.write_bytes(bytes(status.st_size))
        os.utime(photo, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert again(run, tmp_path / "s", few) == {"found": 6, "cached": 6}
    assert all(np.array_equal(before[path], vector) for path, vector in vectors(tmp_path / "s").items())


def test_a_new_photo_costs_one_photo(run: Run, few: Path, tmp_path: Path) -> None:
    again(run, tmp_path / "s", few)
    repaint(few / "cat" / "new.png", "teal")
    assert again(run, tmp_path / "s", few) == {"found": 7, "embedded": 1, "cached": 6}


def test_a_moved_photo_is_copied_and_the_old_name_is_missing_until_pruned(run: Run, few: Path, tmp_path: Path) -> None:
    again(run, tmp_path / "s", few)
    old = sorted(few.rglob("*.*"))[0]
    new = old.with_name("moved" + old.suffix)
    vector = vectors(tmp_path / "s")[str(old)]
    old.rename(new)
    assert again(run, tmp_path / "s", few) == {"found": 6, "cached": 5, "copied": 1, "missing": 1}
    assert np.array_equal(vectors(tmp_path / "s")[str(new)], vector)
    assert again(run, tmp_path / "s", few, "--prune") == {"found": 6, "cached": 6, "missing": 1}
    assert set(vectors(tmp_path / "s")) == {str(path) for path in few.rglob("*.*")}


def test_a_second_photo_with_the_same_bytes_keeps_a_row_of_its_own(run: Run, few: Path, tmp_path: Path) -> None:
    first = sorted(few.rglob("*.*"))[0]
    shutil.copy(first, few / "dog" / f"twin{first.suffix}")
    assert again(run, tmp_path / "s", few) == {"found": 7, "embedded": 6, "copied": 1}
    photos = rows(tmp_path / "s")
    twin = photos[f"dog/twin{first.suffix}"]
    assert (twin.label, photos[str(first.relative_to(few))].label) == ("dog", "cat")


def test_a_changed_photo_is_embedded_though_another_now_holds_its_old_bytes(
    run: Run, few: Path, tmp_path: Path
) -> None:
    again(run, tmp_path / "s", few)
    changed = sorted(few.rglob("*.png"))[0]
    old = vectors(tmp_path / "s")[str(changed)]
    shutil.copy(changed, few / "zz.png")  # after it in the run
    shutil.copy(changed, few / "aa.png")  # before it
    repaint(changed, "purple")
    assert again(run, tmp_path / "s", few) == {"found": 8, "embedded": 1, "cached": 5, "copied": 2}
    now = vectors(tmp_path / "s")
    assert np.array_equal(now[str(few / "aa.png")], old)
    assert np.array_equal(now[str(few / "zz.png")], old)
    assert not np.allclose(now[str(changed)], old, atol=1e-2)
    (fresh,) = query(changed, Cache.open(tmp_path / "s"))
    assert np.allclose(now[str(changed)], fresh.embedding, atol=2e-3)


def test_two_photos_that_swap_their_contents_swap_their_embeddings(run: Run, few: Path, tmp_path: Path) -> None:
    repaint(few / "a.png", "red")
    repaint(few / "b.png", "blue")
    again(run, tmp_path / "s", few)
    before = vectors(tmp_path / "s")
    for name, colour in (("a", "blue"), ("b", "red")):
        repaint(few / f"{name}.png", colour)
        os.utime(few / f"{name}.png", (1, 1))
    again(run, tmp_path / "s", few)
    after = vectors(tmp_path / "s")
    a, b = str(few / "a.png"), str(few / "b.png")
    assert np.array_equal(after[a], before[b])
    assert np.array_equal(after[b], before[a])


def test_one_bad_photo_costs_one_photo_and_is_listed_once(run: Run, few: Path, tmp_path: Path) -> None:
    (few / "cat" / "bad.jpg").write_bytes(b"\xff\xd8\xff not much of a JPEG")
    os.mkfifo(few / "cat" / "pipe.jpg")
    (few / "cat" / "gone.jpg").symlink_to("nowhere.jpg")
    for _ in range(2):
        counts = again(run, tmp_path / "s", few)
        assert (counts["found"], counts["unreadable"]) == (9, 3)
    listed = run("info", "--store", tmp_path / "s", "--json").json["unreadable"]
    assert [Path(one["photo"]).name for one in listed] == ["bad.jpg", "gone.jpg", "pipe.jpg"]
    assert listed[0]["reason"] == "damaged: no readable header"
    assert listed[1]["reason"] == "cannot be read: No such file or directory"
    assert listed[2]["reason"] == "not a regular file"


def test_a_mended_photo_leaves_the_list_and_a_broken_one_leaves_the_cache(run: Run, few: Path, tmp_path: Path) -> None:
    bad, good = few / "bad.png", sorted(few.rglob("*.png"))[0]
    bad.write_bytes(b"nothing")
    again(run, tmp_path / "s", few)
    repaint(bad, "green")
    good.write_bytes(b"broken now")
    assert again(run, tmp_path / "s", few) == {"found": 7, "embedded": 1, "cached": 5, "unreadable": 1}
    assert str(good) not in vectors(tmp_path / "s")
    assert list(Cache.open(tmp_path / "s").unreadable()) == [str(good)]


def test_sources_that_overlap_hold_each_photo_once(run: Run, few: Path, tmp_path: Path) -> None:
    assert again(run, tmp_path / "s", few, few / "cat") == {"found": 6, "embedded": 6}
    cats = len(list((few / "cat").iterdir()))
    assert again(run, tmp_path / "s", few / "cat") == {"found": cats, "cached": cats}


def test_a_source_that_is_gone_is_an_error_until_it_is_pruned(run: Run, few: Path, tmp_path: Path) -> None:
    again(run, tmp_path / "s", few)
    shutil.rmtree(few)
    done = run("embed", few, "--store", tmp_path / "s")
    assert done.status == 1
    assert "--prune" in done.err
    assert again(run, tmp_path / "s", few, "--prune", "--forget", 6) == {"missing": 6}
    assert len(Cache.open(tmp_path / "s")) == 0


def test_a_store_of_other_weights_is_refused(run: Run, few: Path, store: Path, tmp_path: Path) -> None:
    import torch
    from embedding import state

    other = state()
    other["features.norm5.bias"] += 1
    torch.save(other, tmp_path / "other.pth")
    cached = sorted(few.rglob("*.*"))[0]
    for command in (("embed", few), ("similar", cached), ("predict", cached)):
        done = run(*command, "--store", store, "--weights", tmp_path / "other.pth")
        assert (done.status, done.out) == (1, "")
        assert "use `--weights bundled`" in done.err


def test_the_stores_own_weights_are_the_default(run: Run, few: Path, store: Path) -> None:
    repaint(few / "new.png", "pink")
    done = run("embed", few / "new.png", "--store", store, "--json")
    assert (done.json["weights"], done.json["embedded"]) == ("bundled", 1)


@pytest.mark.parametrize("kind", ["missing", "empty", "no photo"])
def test_a_source_without_photos_is_an_error_and_leaves_no_store(run: Run, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "folder"
    if kind != "missing":
        folder.mkdir()
    if kind == "no photo":
        (folder / "notes.txt").write_text("no photo")
    done = run("embed", folder, "--weights", "bundled")
    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
    assert not Path(".petrieve").exists()


def test_progress_counts_to_the_end_and_python_gets_figures_and_cache(few: Path, tmp_path: Path) -> None:
    found, seen = list[int](), list[tuple[int, int, int]]()
    summary, cache = embed(
        few, store=tmp_path / "s", weights="bundled", listing=found.append, progress=lambda *at: seen.append(at)
    )
    assert (found[-1], seen[-1]) == (6, (6, 6, sum(file.stat().st_size for file in few.rglob("*.*"))))
    assert (summary.embedded, len(cache), cache.weights) == (6, 6, "bundled")


def test_a_notebook_keeps_its_threads(few: Path, tmp_path: Path) -> None:
    """Each worker computes with one; the setting is that of the whole process in parts of torch."""
    before = torch.get_num_threads()
    _, cache = embed(few, store=tmp_path / "s", weights="bundled")
    repaint(tmp_path / "new.png", "teal")
    load_trunk.cache_clear()
    assert len(list(query(tmp_path / "new.png", cache))) == 1
    assert load_trunk("bundled").workers == before
    with ThreadPoolExecutor(1) as new:
        assert (torch.get_num_threads(), new.submit(torch.get_num_threads).result()) == (before, before)


def test_many_commits_leave_few_pieces(few: Path, tmp_path: Path) -> None:
    _summary, cache = embed(few, store=tmp_path / "s", weights="bundled")
    everything = list(whole(cache).values())
    for number in range(300):
        one = everything[number % 6]
        photo = type(one.photo)(one.photo.root, f"{number}.jpg", 1, 1)
        cache.commit([replace(one, photo=photo)], nothing())
    assert len(cache) == 306
    for table in (of_trunk(tmp_path / "s").vectors, tmp_path / "s" / "photos.lance"):
        assert len(list((table / "data").iterdir())) < 600
        assert len(opened(table).get_fragments()) < 100


def test_names_of_any_bytes_are_embedded_once_and_found_again(run: Run, few: Path, tmp_path: Path) -> None:
    first = sorted(few.rglob("*.*"))[0]
    for name in (b"caf\xe9.jpg", "naïve 🐈 'quoted\".jpg".encode(), b"new\nline.jpg", b"x" * 250 + b".jpg"):
        shutil.copy(first, os.path.join(os.fsencode(few), name))
    assert again(run, tmp_path / "s", few) == {"found": 10, "embedded": 6, "copied": 4}
    assert again(run, tmp_path / "s", few) == {"found": 10, "cached": 10}
    done = run("similar", first, "--store", tmp_path / "s", "--json")
    found = {os.fsencode(os.path.basename(one["photo"])) for one in done.json["neighbours"][:4]}
    assert b"caf\xe9.jpg" in found
    assert run("info", "--store", tmp_path / "s").status == 0


def test_a_store_whose_photos_all_went_away_goes_on(run: Run, few: Path, tmp_path: Path) -> None:
    """Without a row to add, the store keeps its weights, its failures and what is missing."""
    again(run, tmp_path / "s", few)
    for photo in few.rglob("*.*"):
        photo.write_bytes(b"broken")
    done = run("embed", few, "--store", tmp_path / "s")
    assert (done.status, "none of 6 photos can be read" in done.err) == (1, True)
    assert len(Cache.open(tmp_path / "s")) == 0
    repaint(few / "new.png", "teal")
    done = run("embed", few, "--store", tmp_path / "s", "--json")  # without --weights
    assert (done.json["weights"], done.json["embedded"], done.json["unreadable"]) == ("bundled", 1, 6)


def test_one_file_that_is_not_a_photo_is_refused_and_not_kept(run: Run, few: Path, tmp_path: Path) -> None:
    again(run, tmp_path / "s", few)
    (tmp_path / "README.md").write_text("no photo")
    done = run("embed", tmp_path / "README.md", "--store", tmp_path / "s")
    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
    assert "README.md is not a photo; name JPEG, PNG" in done.err
    assert run("info", "--store", tmp_path / "s", "--json").json["unreadable"] == []


def test_nothing_but_no_photos_makes_no_store(run: Run, tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("no photo")
    done = run("embed", tmp_path / "notes.jpg", "--weights", "bundled")
    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
    assert "not a photo" in done.err
    assert not Path(".petrieve").exists()


def test_a_disk_that_is_not_there_costs_no_embedding(run: Run, few: Path, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    for photo in few.rglob("*.*"):
        (tmp_path / "links" / photo.name).symlink_to(photo)
    again(run, tmp_path / "s", tmp_path / "links")
    before = vectors(tmp_path / "s")
    few.rename(tmp_path / "unplugged")
    assert run("embed", tmp_path / "links", "--store", tmp_path / "s").status == 1
    assert vectors(tmp_path / "s").keys() == before.keys()
    (tmp_path / "unplugged").rename(few)
    assert again(run, tmp_path / "s", tmp_path / "links") == {"found": 6, "cached": 6}
    assert Cache.open(tmp_path / "s").unreadable() == {}


def test_embeddings_without_their_card_are_not_overwritten(run: Run, few: Path, store: Path) -> None:
    card = (store / "store.json").read_bytes()
    (store / "store.json").unlink()
    done = run("embed", few, "--store", store, "--weights", "bundled")
    assert (done.status, "bring that file back" in done.err) == (1, True)
    (store / "store.json").write_bytes(card)
    assert len(Cache.open(store)) == 40


def test_folders_of_any_bytes_and_links_to_themselves(run: Run, few: Path, tmp_path: Path) -> None:
    folder = os.path.join(os.fsencode(few), b"caf\xe9")
    os.mkdir(folder)
    shutil.copy(sorted(few.rglob("*.*"))[0], os.path.join(folder, b"x.jpg"))
    (few / "loop.jpg").symlink_to("loop.jpg")
    assert again(run, tmp_path / "s", few) == {"found": 8, "embedded": 6, "copied": 1, "unreadable": 1}
    assert run("info", "--store", tmp_path / "s").status == 0


@pytest.mark.parametrize("damage", ["card", "truncated", "no data"])
def test_a_damaged_store_is_one_line_for_every_command(run: Run, store: Path, drawn: Path, damage: str) -> None:
    if damage == "card":
        (store / "store.json").write_text("{")
    tables = [of_trunk(store).vectors, store / "photos.lance"] if damage != "card" else []
    for file in [file for table in tables for file in (table / "data").iterdir()]:
        os.truncate(file, 100) if damage == "truncated" else file.unlink()
    photo = sorted((drawn / "cat").iterdir())[0]
    for command in (("embed", drawn), ("fit-head",), ("predict", photo), ("similar", photo), ("info",)):
        done = run(*command, "--store", store)
        assert (done.status, done.out, done.err.count("\n")) == (1, "", 1), command
        assert "run `cli.py embed` with a new `--store`" in done.err


@pytest.mark.parametrize(
    "words", [("--weights", "nowhere.pth"), ("--device", "nonsense"), ("--device", "meta"), ("--precision", "int4")]
)
def test_what_is_asked_for_is_checked_even_when_all_is_cached(
    run: Run, store: Path, drawn: Path, words: tuple[str, str]
) -> None:
    photo = sorted((drawn / "cat").iterdir())[0]
    for command in ("embed", "predict", "similar"):
        done = run(command, photo, "--store", store, *words)
        assert (done.status, done.out, done.err.count("\n")) == (1, "", 1), command


def test_a_store_on_a_path_that_looks_like_a_bucket_is_a_folder(run: Run, few: Path) -> None:
    assert again(run, Path("s3:x"), few) == {"found": 6, "embedded": 6}
    assert run("info", "--store", "s3:x").status == 0
