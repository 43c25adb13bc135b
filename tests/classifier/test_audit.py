"""The audit finds planted mistakes, each with its reason, and refuses what it cannot audit."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cleanlab.filter import find_label_issues
from conftest import SHARED, Done, need
from PIL import Image
from planting import DIMENSION, drawn, empty_store

from petrieve.classifier import copies as near
from petrieve.classifier.auditing import alike
from petrieve.classifier.auditing.audit import out_of_fold
from petrieve.classifier.labelled import read
from petrieve.extractor.sources.sample import draw_sample
from petrieve.store.cache import Cache
from petrieve.store.known import nothing
from petrieve.store.linked import joined
from petrieve.store.photo import Photo
from petrieve.store.rows import Embedded

Run = Callable[..., Done]
COLUMNS = ["photo", "label", "suggested", "reason", "score"]


def made(store: Path, labels: list[str], vectors: np.ndarray, names: list[str] | None = None, split: str = "") -> Cache:
    """A cache of photos with these labels and embeddings."""
    cache = empty_store(store)
    names = names or [f"{number}.jpg" for number in range(len(labels))]
    rows = [
        Embedded(
            Photo("/made", name, 1, 1, label, split or None), name.encode()[-16:].rjust(16, b"-"), 1, 1, vector[None]
        )
        for name, label, vector in zip(names, labels, vectors.astype(np.float32), strict=True)
    ]
    cache.commit(rows, nothing())
    return cache


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


def wrong_labels(truth: list[str], seed: int, *, only: str | None = None) -> dict[int, str]:
    """3 % of the positions, each with another class; all of one class where `only` names it."""
    chance, classes = np.random.default_rng(seed), sorted(set(truth))
    pool = [i for i, label in enumerate(truth) if only in (None, label)]
    chosen = chance.choice(pool, round(0.03 * len(truth)), replace=False).tolist()
    return {i: classes[(classes.index(truth[i]) + 1) % len(classes)] for i in chosen}


def found_by_cleanlab(cache: Cache, wrong: set[str]) -> int:
    """How many wrong labels stand in the first 5 % of cleanlab's ranking of our head's probabilities."""
    photos = read(cache)
    targets = np.unique(photos.labels, return_inverse=True)[1]
    probabilities = out_of_fold(photos.embeddings, targets, photos.groups)
    issues = find_label_issues(targets, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    return len(wrong & {photos.paths[i] for i in issues[: round(0.05 * len(photos))]})


def check_found(run: Run, cache: Cache, wrong: set[str], *, share: float = 0.9) -> None:
    """This share of the wrong labels is in the first 5 % of the list, and no fewer than cleanlab finds there."""
    assert run("audit", "--store", cache.store.path, "--csv", "audit.csv").status == 0
    ranked = rows_of(Path("audit.csv"))
    assert len(ranked) == cache.counts()["photos"]
    first = {str(Path(row["photo"]).resolve()) for row in ranked[: round(0.05 * len(ranked))]}
    assert len(first & wrong) >= share * len(wrong)
    assert len(first & wrong) >= found_by_cleanlab(Cache.open(cache.store.path), wrong)


@pytest.fixture(scope="module")
def many(run: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """300 drawn photos and their store; not to be written to."""
    folder = tmp_path_factory.mktemp("many")
    draw_sample(folder / "drawn", photos=300)
    assert run("embed", folder / "drawn", "--store", folder / "store", "--weights", "bundled").status == 0
    return folder / "drawn", folder / "store"


MORE = [pytest.param(seed, None, marks=pytest.mark.torture) for seed in range(1, 5)]
MORE += [pytest.param(4, "dog", marks=pytest.mark.torture)]


@pytest.mark.parametrize(("seed", "only"), [(0, None), (2, "cat"), *MORE])
def test_wrong_labels_among_drawn_pets_come_first(
    run: Run, many: tuple[Path, Path], tmp_path: Path, seed: int, only: str | None
) -> None:
    drawn, store = many[0], Path(shutil.copytree(many[1], tmp_path / "store"))
    photos = sorted(file for file in drawn.rglob("*") if file.is_file())
    wrong = wrong_labels([file.parent.name for file in photos], seed, only=only)
    lines = [f"{photos[i].relative_to(drawn)},{label}" for i, label in wrong.items()]
    (tmp_path / "wrong.csv").write_text("\n".join(["photo,label", *lines]))
    assert run("embed", drawn, "--store", store, "--labels", tmp_path / "wrong.csv").status == 0
    share = 0.8 if only else 0.9  # what is wrong in one way, the bundled trunk's head learns in part, cleanlab's too
    check_found(run, Cache.open(store), {str(photos[i].resolve()) for i in wrong}, share=share)


@pytest.mark.real
@pytest.mark.parametrize(("seed", "only"), [(0, None), (1, "dog")])
def test_wrong_labels_in_the_embeddings_of_an_imagenet_trunk_come_first(
    run: Run, tmp_path: Path, seed: int, only: str | None
) -> None:
    folder = need(SHARED / "embeddings")
    rows = rows_of(folder / "mobilenetv2.csv")
    kept = [i for i, row in enumerate(rows) if row["label"] in ("cat", "dog")]
    truth = [rows[i]["label"] for i in kept]
    wrong = wrong_labels(truth, seed, only=only)
    labels = [wrong.get(i, label) for i, label in enumerate(truth)]
    vectors = np.load(folder / "mobilenetv2.npy")[kept, :DIMENSION]
    names = [rows[i]["photo"] for i in kept]
    check_found(run, made(tmp_path / "s", labels, vectors, names), {f"/made/{names[i]}" for i in wrong})


def weak(count: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Labels and made-up embeddings that a head tells apart in nine of ten cases."""
    rows = drawn({"cat": count // 2, "dog": count // 2}, apart=0.085, seed=seed)
    return [label for label, _, _ in rows], np.stack([vector for _, _, vector in rows])


@pytest.mark.parametrize("seed", range(3))
def test_right_labels_are_not_called_wrong_by_a_weak_head(run: Run, tmp_path: Path, seed: int) -> None:
    made(tmp_path / "s", *weak(402, seed))
    document = run("audit", "--store", "s", "--json").json
    assert document["found"]["label"] <= 0.005 * 402
    assert document["found"]["doubt"] > 0, "what the head is mistaken about is still there to look at"
    assert document["expected_wrong"] <= 6


@pytest.mark.parametrize("seed", range(3))
def test_about_as_many_wrong_labels_are_expected_as_there_are(run: Run, tmp_path: Path, seed: int) -> None:
    truth, vectors = blobs(200, apart=0.12)
    wrong = wrong_labels(truth, seed)
    made(tmp_path / "s", [wrong.get(i, label) for i, label in enumerate(truth)], vectors)
    document = run("audit", "--store", "s", "--json").json
    assert len(wrong) / 2 < document["expected_wrong"] < 1.5 * len(wrong)
    called = {Path(one["photo"]).stem for one in document["ranked"] if "label" in one["kinds"]}
    assert len(called & set(map(str, wrong))) > 0.5 * len(wrong)
    assert len(called - set(map(str, wrong))) <= 0.005 * len(truth)
    assert f"expected to be wrong: about {document['expected_wrong']:.0f}\n" in run("audit", "--store", "s").out


@pytest.mark.real
@pytest.mark.parametrize("columns", [1024, 24], ids=["strong", "weak"])
@pytest.mark.parametrize("seed", range(3))
def test_right_labels_of_real_photos_are_not_called_wrong(run: Run, tmp_path: Path, columns: int, seed: int) -> None:
    folder = need(SHARED / "embeddings")
    rows = rows_of(folder / "mobilenetv2.csv")
    kept = [i for i, row in enumerate(rows) if row["label"] in ("cat", "dog")]
    some = np.sort(np.random.default_rng(seed).choice(kept, 402, replace=False))
    vectors = np.load(folder / "mobilenetv2.npy")[some, :DIMENSION].astype(np.float32)
    vectors[:, columns:] = 0
    made(tmp_path / "s", [rows[i]["label"] for i in some], vectors)
    assert run("audit", "--store", "s", "--json").json["found"]["label"] <= 0.005 * 402


def test_a_label_of_the_test_set_alone_is_no_class(run: Run, tmp_path: Path) -> None:
    labels, vectors = blobs(20)
    names = [f"{'test' if i % 4 == 0 else 'train'}/{i}.jpg" for i in range(40)]
    cache = empty_store(tmp_path / "s")
    rows = []
    for i, (label, vector, name) in enumerate(zip(labels, vectors, names, strict=True)):
        split, own = name.split("/")[0], "unknown" if name.startswith("test") else label
        photo = Photo("/made", name, 1, 1, own, split)
        rows.append(Embedded(photo, i.to_bytes(16, "big"), 1, 1, vector[None].astype(np.float32)))
    cache.commit(rows, nothing())
    done = run("audit", "--store", "s", "--json")
    assert "note: only held-out photos are labelled 'unknown': 10 not judged" in done.err
    assert not [one for one in done.json["ranked"] if one["suggested"] == "unknown"]
    held_out = [one for one in done.json["ranked"] if one["label"] == "unknown"]
    assert {one["reason"] for one in held_out} == {"no photo to train with has its label"}
    assert {(one["suggested"], one["score"]) for one in held_out} == {(None, 0)}
    assert sum(done.json["found"].values()) == 0


def test_each_finding_says_why(run: Run, photos: Path, tmp_path: Path) -> None:
    cats, dogs = (sorted((photos / kind).iterdir()) for kind in ("cat", "dog"))
    for folder in ("train", "test"):
        (photos / folder / "cat").mkdir(parents=True)
    shutil.copy(cats[0], dogs[0].parent / "twin.jpg")
    Image.open(cats[1]).convert("RGB").save(photos / "train" / "cat" / "first.jpg", quality=95)
    Image.open(cats[1]).convert("RGB").save(photos / "test" / "cat" / "second.jpg", quality=85)
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    Image.fromarray(noise).save(photos / "cat" / "noise.png")
    assert run("embed", photos, "--store", "s", "--weights", "bundled").status == 0
    done = run("audit", "--store", "s", "--json", "--csv", "a.csv", "--sheet", "a.jpg")
    assert done.status == 0
    document = done.json
    assert set(document) == {"photos", "of", "found", "expected_wrong", "ranked"}
    by_name = {Path(one["photo"]).name: one for one in document["ranked"]}
    assert (
        f"the same file as {Path('photos/cat') / cats[0].name}, which is labelled cat" in by_name["twin.jpg"]["reason"]
    )
    assert "conflict" in by_name[cats[0].name]["kinds"]
    assert "leak" in by_name["second.jpg"]["kinds"]
    assert "leak" not in by_name["first.jpg"]["kinds"]
    assert "of photos/train/cat/first.jpg, which is in train" in by_name["second.jpg"]["reason"]
    assert "outlier" in by_name["noise.png"]["kinds"]
    assert document["found"]["conflict"] >= 2
    scores = [one["score"] for one in document["ranked"]]
    assert scores == sorted(scores, reverse=True)
    assert all(one["score"] >= 0.5 for one in document["ranked"] if set(one["kinds"]) - {"doubt"})
    ranked = rows_of(Path("a.csv"))
    assert list(ranked[0]) == COLUMNS
    assert [row["photo"] for row in ranked] == [one["photo"] for one in document["ranked"]]
    assert Image.open("a.jpg").width > 200
    out = run("audit", "--store", "s").out
    assert "near-copy in another split" in out
    assert "photos/dog/twin.jpg" in out


def test_a_clean_store_has_nothing_worth_a_sheet(run: Run, tmp_path: Path) -> None:
    labels, vectors = blobs(20)
    made(tmp_path / "s", labels, vectors)
    assert "expected to be wrong: none\nnothing was found" in run("audit", "--store", "s").out
    done = run("audit", "--store", "s", "--sheet", "a.jpg")
    assert (done.status, done.err) == (0, "note: nothing was found that a.jpg could show: it is not written\n")
    assert not Path("a.jpg").exists()


def blobs(each: int, *, classes: int = 2, apart: float = 1) -> tuple[list[str], np.ndarray]:
    """Labels and embeddings of so many photos of each class, around a point of its own."""
    chance = np.random.default_rng(0)
    middles = chance.normal(size=(classes, DIMENSION)) * apart
    labels = [f"class {number}" for number in range(classes) for _ in range(each)]
    return labels, np.repeat(middles, each, axis=0) + chance.normal(size=(each * classes, DIMENSION))


def test_the_list_does_not_depend_on_the_order_of_rows(run: Run, tmp_path: Path) -> None:
    labels, vectors = blobs(15)
    labels[3] = "class 1"
    names = [f"{number}.jpg" for number in range(30)]
    made(tmp_path / "a", labels, vectors, names)
    made(tmp_path / "b", labels[::-1], vectors[::-1], names[::-1])
    one, other = (run("audit", "--store", tmp_path / name, "--json").json for name in "ab")
    assert one == other
    assert (one["ranked"][0]["photo"], one["ranked"][0]["suggested"]) == ("/made/3.jpg", "class 0")


def test_a_label_that_one_photo_has_is_judged_by_the_others(run: Run, tmp_path: Path) -> None:
    labels, vectors = blobs(15)
    labels[3] = "clas 0"
    made(tmp_path / "s", labels, vectors)
    done = run("audit", "--store", "s", "--json")
    assert done.json["ranked"][0]["photo"] == "/made/3.jpg"
    assert done.json["ranked"][0]["suggested"] == "class 0"
    assert done.json["ranked"][0]["kinds"] == ["doubt"], "nobody can tell that it is wrong"


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["cat"] * 6, "embed photos of another class too"),
        (["cat"] * 5 + ["dog"], "embed more photos of each class"),
        (["cat"], "embed photos of another class too"),
    ],
)
def test_what_cannot_be_audited_is_one_line(run: Run, tmp_path: Path, labels: list[str], words: str) -> None:
    made(tmp_path / "s", labels, np.random.default_rng(0).normal(size=(len(labels), DIMENSION)))
    done = run("audit", "--store", "s", "--csv", "a.csv")
    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
    assert words in done.err
    assert not Path("a.csv").exists()


def test_a_store_without_labels_and_no_store_are_one_line_each(run: Run, tmp_path: Path) -> None:
    made(tmp_path / "s", [None] * 3, np.ones((3, DIMENSION)))  # type: ignore[list-item]
    for store, words in (("s", "in a folder of its name"), ("nowhere", "run `cli.py embed FOLDER` first")):
        done = run("audit", "--store", store)
        assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
        assert words in done.err


def test_equal_embeddings_are_copies_and_never_neighbours() -> None:
    vectors = np.repeat(np.random.default_rng(0).normal(size=(3, DIMENSION)), 40, axis=0).astype(np.float32)
    found, distances = alike.nearest(vectors)
    assert (found != np.arange(120)[:, None]).all()
    digests: Any = np.repeat(np.array([b"a", b"b", b"c"]), 40)
    own = joined(near.pairs(vectors, digests), 120)
    assert len(np.unique(own)) == 3
    assert (alike.neighbours(found, distances, own)[0] == -1).all()
