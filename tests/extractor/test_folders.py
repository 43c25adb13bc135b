"""Labels and splits that folders and names give: as torchvision's ImageFolder has them, and where it says nothing."""

import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import lance
import pytest
from conftest import Done
from embedding import again, rows

from petrieve.extractor.find import find_all
from petrieve.extractor.labelling import Annotator, naming_of
from petrieve.extractor.manifest import Manifest
from petrieve.extractor.plan import plan
from petrieve.store.known import nothing

Run = Callable[..., Done]


def said(root: Path, uris: str, *sources: str, level: int | None = None) -> dict[str, str]:
    """Label and split of photos by uri: `cat train`; of some sources in a folder, or of the folder itself."""
    for uri in uris.split():
        (root / uri).parent.mkdir(parents=True, exist_ok=True)
        (root / uri).touch()
    wanted = [str(root / source) for source in sources] or [str(root)]
    with closing(Manifest()) as manifest:
        found = find_all(wanted, manifest)
        made = plan(manifest, found, wanted, nothing(), views=0, retry=False, keep_damaged=False)
        annotate = Annotator(naming_of(made, wanted, nothing(), None, level=level))
        photos = [annotate(photo, state) for photo, state in made.photos()]
    return {
        str(Path(photo.path).relative_to(root)): " ".join(filter(None, (photo.label, photo.split))) for photo in photos
    }


@pytest.mark.parametrize(
    ("uris", "expected"),
    [
        ("cat/1.jpg dog/2.jpg", "cat dog"),
        ("cat/2021/1.jpg cat/2022/2.jpg dog/2021/may/3.jpg dog/4.jpg", "cat cat dog dog"),
        ("PetImages/Cat/1.jpg PetImages/Dog/2.jpg", "Cat Dog"),
        ("a/b/c/Cat/x/1.jpg a/b/c/Dog/x/2.jpg", "Cat Dog"),
        ("train/cat/1.jpg train/dog/2.jpg test/cat/3.jpg", "cat_test cat_train dog_train"),
        ("Validation/cat/1.jpg valid/dog/1.jpg", "cat_val dog_val"),
        ("pets/train/images/cat/1.jpg pets/test/images/dog/2.jpg", "dog_test cat_train"),
        ("cat/train/1.jpg cat/val/2.jpg dog/train/3.jpg dog/val/4.jpg", "cat_train cat_val dog_train dog_val"),
        ("Bella/1.jpg Max/2.jpg Val/3.jpg", "Bella Max Val"),
        ("train/Bella/1.jpg train/Val/2.jpg", "Bella_train Val_train"),
        ("train/a/1.jpg val/a/2.jpg extra/b/3.jpg", "extra a_train a_val"),
        ("cat/1.jpg dog/2.jpg val/cat/3.jpg val/dog/4.jpg", "cat dog cat_val dog_val"),
        ("cat/1.jpg dog/2.jpg test/3.jpg", "cat dog _test"),
        ("val/cat/1.jpg val/dog/2.jpg", "cat_val dog_val"),
        ("cat/1.jpg 2.jpg", " cat"),
        ("cat/2021/1.jpg", "cat"),
        ("1.jpg 2.jpg", " "),
        ("train/cat.0.jpg train/DOG.1.JPG test1/1.jpg", "_test dog_train cat_train"),
        ("kaggle/cat.0.jpg kaggle/dog.1.jpg kaggle/x.jpg", "cat dog "),
        ("cat/dog.4334.jpg", "cat"),
        ("cats/cat.1.jpg dogs/dog.1.jpg", "cats dogs"),
        ("img.5.jpg", ""),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_class_is_the_first_folder_below_source_and_split_that_branches(
    tmp_path: Path, uris: str, expected: str
) -> None:
    words = [one.replace("_", " ").strip() for one in expected.split(" ")]
    assert list(said(tmp_path, uris).values()) == words


@pytest.mark.parametrize(
    ("uris", "sources", "expected"),
    [
        ("cats/1.jpg dogs/2.jpg", "cats dogs", "cats dogs"),
        ("p/cat/2021/1.jpg p/cat/2022/2.jpg p/dog/2021/3.jpg", "p/cat p/dog", "cat cat dog"),
        ("p/Bella/1.jpg p/Max/2.jpg p/Val/3.jpg", "p/Bella p/Max p/Val", "Bella Max Val"),
        ("p/train/cat/1.jpg p/train/dog/2.jpg p/test/cat/3.jpg", "p/train p/test", "cat_train dog_train cat_test"),
        ("a/pets/cat/1.jpg b/pets/dog/2.jpg", "a/pets b/pets", "cat dog"),
        ("a/train/cat/1.jpg b/more/dog/2.jpg", "a/train b/more", "cat_train dog"),
        ("cats/1.jpg dogs/2.jpg 3.jpg", "cats dogs 3.jpg", "cats dogs "),
        ("cat/1.jpg cat/2.jpg", "cat", " "),
        ("cat/1.jpg cat/2.jpg", "cat/1.jpg cat/2.jpg", " "),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_several_sources_are_classes_as_folders_in_one_are(
    tmp_path: Path, uris: str, sources: str, expected: str
) -> None:
    words = [one.replace("_", " ") for one in expected.split(" ")]
    assert list(said(tmp_path, uris, *sources.split()).values()) == words


@pytest.mark.parametrize(
    ("level", "expected"), [(0, "p p p"), (1, "cat cat dog"), (2, "2021 2022 2021"), (-1, "2021 2022 may")]
)
def test_the_level_says_it_outright(tmp_path: Path, level: int, expected: str) -> None:
    uris = "p/train/cat/2021/1.jpg p/train/cat/2022/2.jpg p/train/dog/2021/may/3.jpg"
    assert list(said(tmp_path, uris, "p", level=level).values()) == [f"{one} train" for one in expected.split()]


@pytest.mark.parametrize(
    ("uris", "note"),
    [
        (
            "cat/2021/1.jpg cat/2022/2.jpg dog/2021/3.jpg",
            "'2021', '2022' inside 'cat', 'dog' are no labels; `label_level=2`",
        ),
        ("PetImages/Cat/1.jpg", "'Cat' inside 'PetImages' are no labels"),
        ("Bella/1.jpg Max/2.jpg Val/3.jpg", "'Val' beside 'Bella', 'Max' is taken for a label"),
        ("cat/1.jpg dog/2.jpg test/3.jpg", "'test' beside 'cat', 'dog' is taken for a split"),
        ("train/a/1.jpg val/a/2.jpg extra/b/3.jpg", "'train', 'val' beside 'extra' are taken for splits"),
        ("cat/dog.4334.jpg", "1 photo(s) have the label of their folder, and another in their name"),
    ],
)
def test_what_is_doubtful_is_a_note(tmp_path: Path, recwarn: pytest.WarningsRecorder, uris: str, note: str) -> None:
    said(tmp_path, uris)
    assert [note in str(one.message) for one in recwarn] == [True]


def test_what_is_plain_is_none(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    said(tmp_path, "train/cat/1.jpg train/dog/cute/2.jpg val/cat/3.jpg test/1.jpg")
    assert not recwarn.list


@pytest.fixture
def nested(photos: Path) -> Path:
    """Two cats and two dogs, each photo in the folder of a year."""
    for kind in ("cat", "dog"):
        for place, photo in enumerate(sorted((photos / kind).iterdir())):
            if place > 1:
                photo.unlink()
                continue
            (photos / kind / f"202{place}").mkdir()
            photo.rename(photos / kind / f"202{place}" / photo.name)
    return photos


def labels(store: Path) -> str:
    return " ".join(photo.label or "-" for _, photo in sorted(rows(store).items()))


def test_what_was_decided_is_printed_once(run: Run, nested: Path, tmp_path: Path) -> None:
    words = ("embed", nested, "--store", tmp_path / "s", "--weights", "bundled")
    done = run(*words)
    assert "labels: 2 from folders: cat 2, dog 2\n" in done.out
    assert (done.err.count("\n"), "inside 'cat', 'dog' are no labels" in done.err) == (1, True)
    assert labels(tmp_path / "s") == "cat cat dog dog"
    done = run(*words)
    assert ("labels:" in done.out, done.err) == (False, "")
    assert run(*words, "--json").json["labels"] is None


def test_a_csv_and_none_are_printed_too(run: Run, nested: Path, tmp_path: Path) -> None:
    uri = next(nested.rglob("*.jpg")).relative_to(nested)
    (tmp_path / "l.csv").write_text(f"photo,label\n{uri},tiger\n")
    words = ("embed", nested, "--store", tmp_path / "s", "--weights", "bundled")
    assert "1 from the CSV: tiger 1" in run(*words, "--labels", tmp_path / "l.csv").out
    photo = next(nested.rglob("*.jpg"))
    assert "labels: none; " in run("embed", photo, "--store", tmp_path / "t", "--weights", "bundled").out


def test_a_store_that_was_labelled_otherwise_goes_on_so_until_a_level_is_asked_for(
    run: Run, nested: Path, tmp_path: Path
) -> None:
    """Before, a photo's label was the name of the folder that it lies in."""
    store = tmp_path / "s"
    again(run, store, nested, "--label-level", "-1")
    assert labels(store) == "2020 2021 2020 2021"
    assert run("embed", nested, "--store", store).err == ""
    (nested / "cat" / "2022").mkdir()
    shutil.copy(next((nested / "dog").rglob("*.jpg")), nested / "cat" / "2022" / "new.jpg")
    done = run("embed", nested, "--store", store)
    assert "by the folder that they lie in; `--label-level 1` gives all 'cat', 'dog'" in done.err
    assert labels(store) == "2020 2021 2022 2020 2021"
    (tmp_path / "l.csv").write_text("photo,label,split\ncat/2022/new.jpg,tiger,val\n")
    again(run, store, nested, "--labels", tmp_path / "l.csv")
    assert again(run, store, nested, "--label-level", "1")["cached"] == 5
    assert labels(store) == "cat cat tiger dog dog"
    assert rows(store)["cat/2022/new.jpg"].split == "val"
    again(run, store, nested)
    assert labels(store) == "cat cat tiger dog dog"


def test_a_level_takes_the_place_of_what_an_earlier_release_left_unmarked(
    run: Run, nested: Path, tmp_path: Path
) -> None:
    """A label that folders gave stays behind where the photo moves."""
    store = tmp_path / "s"
    again(run, store, nested, "--label-level", "-1")
    lance.dataset(str(store / "photos.lance")).drop_columns(["label_by_hand", "split_by_hand"])
    again(run, store, nested, "--label-level", "1")
    photo = next((nested / "cat" / "2020").iterdir())
    photo.rename(nested / "dog" / "2020" / "moved.jpg")
    again(run, store, nested)
    assert rows(store)["dog/2020/moved.jpg"].label == "dog"


def test_a_folder_alone_is_labelled_as_its_photos_were_from_above(run: Run, nested: Path, tmp_path: Path) -> None:
    again(run, tmp_path / "s", nested)
    shutil.copy(next((nested / "dog").rglob("*.jpg")), nested / "cat" / "new.jpg")
    again(run, tmp_path / "s", nested / "cat")
    assert rows(tmp_path / "s")["new.jpg"].label == "cat"


def test_sources_that_got_no_labels_before_are_told_how_to_get_them(run: Run, nested: Path, tmp_path: Path) -> None:
    store, sources = tmp_path / "s", (nested / "cat", nested / "dog")
    for source in sources:
        again(run, store, source / "2020")
        again(run, store, source / "2021")
    assert labels(store) == "- - - -"
    sources = tuple(source / year for source in sources for year in ("2020", "2021"))
    shutil.copy(next((nested / "dog").rglob("*.jpg")), nested / "cat" / "2020" / "new.jpg")
    done = run("embed", *sources, "--store", store)
    assert "have no label; `--label-level 0` gives all '2020', '2021'" in done.err
    again(run, store, *sources, "--label-level", "0")
    assert sorted(labels(store).split()) == ["2020", "2020", "2020", "2021", "2021"]


def test_a_level_that_no_folder_has_is_an_error(run: Run, nested: Path, tmp_path: Path) -> None:
    done = run("embed", nested, "--store", tmp_path / "s", "--label-level", "3")
    assert (done.status, done.out, "give a smaller `--label-level`" in done.err) == (1, "", True)
    assert not (tmp_path / "s" / "store.json").exists()
