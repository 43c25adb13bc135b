"""The index in its file: whole, of its kind, and trusted for nothing but speed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Done
from forging import Lie, forged
from planting import DIMENSION, KIND, agree, empty_store, first, of_trunk

from petrieve.index import build, search
from petrieve.index.codes import exact, kept, update
from petrieve.index.codes.arrays import Damaged
from petrieve.index.codes.inverted import KINDS
from petrieve.store.cache import Cache
from petrieve.store.errors import PetrieveError
from petrieve.store.rows import unit_length

Run = Callable[..., Done]


# FAISS takes these, and ends the process or asks for all its memory.
CRASHING = ["IVF0,SQ8", "PCA0,IVF4,SQ8", "RR0,IVF4,SQ8", "IVF4,PQ8x0", "IVF4,PQ8x24"]


@pytest.mark.parametrize(
    "kind", ["HNSW32", "IVF4,PQ7", "IVF99999999,SQ8", "nonsense", "Flat", "PCA9999,IVF4,XX", "", *CRASHING]
)
def test_a_kind_that_cannot_be_kept_is_one_line_that_names_those_that_can(run: Run, store: Path, kind: str) -> None:
    done = run("build-index", "--store", store, "--kind", kind)
    assert (done.status, done.out, done.err.splitlines()[-1].count("error: ")) == (1, "", 1)
    assert KINDS in done.err
    assert not (of_trunk(store).index).exists()


def test_too_few_photos_for_a_kind_and_none_at_all_are_one_line(run: Run, store: Path, tmp_path: Path) -> None:
    done = run("build-index", "--store", store, "--kind", "IVF64,SQ8")
    assert (done.status, "too few" in done.err) == (1, True)
    empty_store(tmp_path / "empty")
    done = run("build-index", "--store", tmp_path / "empty", "--kind", KIND)
    assert (done.status, "cli.py embed" in done.err) == (1, True)
    assert search.search(build.build(Cache.open(tmp_path / "empty")), np.ones(DIMENSION)) == []


@pytest.mark.parametrize("kind", ["IVF4,Flat", "IVF4,SQfp16", "IVF4,SQ4", "RR64,IVF4,SQ6", "IVF4,PQ8x4"])
def test_every_kind_comes_back_from_its_file_as_it_was(many: Cache, kind: str) -> None:
    made = update.build_anew(many, kind=kind, target=0.9)
    kept.save(made, many)
    back = kept.load(many)
    assert back is not None
    assert back.card == made.card
    queries = unit_length(np.stack([first(many), -first(many)]))
    one, other = (which.inverted.shortlist(queries, wanted=20, lists=2) for which in (made, back))
    assert (one == other).all()


def test_a_damaged_index_is_seen_wherever_a_bit_is_flipped_or_the_file_is_cut(many: Cache) -> None:
    data = many.folder.index.read_bytes()
    rng = np.random.default_rng(0)
    places = [*range(0, 2000, 97), *rng.integers(len(data), size=60).tolist()]
    for place in places:
        many.folder.index.write_bytes(data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :])
        with pytest.raises(PetrieveError, match="build-index"):
            kept.load(many)
    for end in (0, 1, 8, 100, len(data) // 2, len(data) - 1):
        many.folder.index.write_bytes(data[:end])
        with pytest.raises(Damaged, match="build-index"):
            kept.load(many)


@pytest.mark.parametrize("few", [100, 1000])
def test_beside_a_damaged_index_each_photo_is_compared_and_what_mends_it_is_said(
    many: Cache, few: int, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """A search does not wait for minutes while one is built."""
    damaged = many.folder.index.read_bytes()[:-5]
    many.folder.index.write_bytes(damaged)
    monkeypatch.setattr(exact, "EXACT", few)
    index = build.build(many)
    assert "run `petrieve build-index` mends it" in str(recwarn.pop(UserWarning).message)
    assert (index.kept, index.held is None) == (None, few == 100)
    agree(index, first(many), 20)
    assert many.folder.index.read_bytes() == damaged
    update.update(many)
    assert (kept.load(many) is None) == (few == 1000), "so few are compared one by one"


LIES: dict[str, Lie] = {
    "sizes beyond the codes": lambda held, _: held["sizes"].__setitem__(0, 10**12),
    "a negative size": lambda held, _: held.update(sizes=np.array([-400, 400, 400, 0])),
    "fewer codes": lambda held, _: held.update(codes=held["codes"][:-1]),
    "narrower codes": lambda held, _: held.update(codes=held["codes"][:, :-1]),
    "no ranges": lambda held, _: held.update(fitted=held["fitted"][:0]),
    "a short matrix": lambda held, _: held.update(matrix=held["matrix"][:-1]),
    "centroids that are no numbers": lambda held, _: held["centroids"].fill(np.nan),
    "fewer lists": lambda held, _: held.update(sizes=held["sizes"][:3]),
    "a kind with a billion lists": lambda _, card: card.update(kind="IVF1000000000,SQ8"),
    "a kind of other codes": lambda _, card: card.update(kind="PCA16,IVF4,Flat"),
    "a kind that is a program": lambda _, card: card.update(kind="HNSW32"),
    "an id twice": lambda held, _: held["ids"].__setitem__(0, held["ids"][1]),
    "no lists to look into": lambda _, card: card.update(lists=0),
    "a shortlist of words": lambda _, card: card.update(shortlist="all"),
    "marks that are too few": lambda held, _: held.update(marks=held["marks"][:-1]),
    "codes of another type": lambda held, _: held.update(codes=held["codes"].astype(np.int16)),
}


@pytest.mark.parametrize("lie", LIES)
def test_an_index_that_lies_about_itself_is_refused(many: Cache, lie: str) -> None:
    forged(many.folder.index, LIES[lie])
    with pytest.raises(Damaged, match="build-index"):
        kept.load(many)


def test_an_index_that_lies_about_photos_finds_none_that_is_not_there(many: Cache) -> None:
    forged(many.folder.index, lambda held, _: held["ids"].__iadd__(200))
    index = build.build(many)
    agree(index, first(many), 400)
    forged(many.folder.index, lambda held, _: held["marks"].__iadd__(1))
    index = build.build(many)
    assert len(index.stale) == 400
    agree(index, first(many), 10)
    assert update.update(many) is not None
    agree(build.build(many), first(many), 10)


def test_an_index_of_other_weights_is_refused_with_the_command_that_mends_it(run: Run, many: Cache) -> None:
    forged(many.folder.index, lambda _, card: card.update(fingerprint="another"))
    with pytest.raises(PetrieveError, match="build-index"):
        build.build(many)
    assert run("info", "--store", many.store.path, "--json").json["index"]["fits"] is False
    assert run("build-index", "--store", many.store.path, "--kind", KIND).status == 0
    assert build.build(many).kept is not None
