"""Photos in Google's and Azure's buckets, and a store in Azure's: the store of the folder, against emulators."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from clouds import Cloud, azure, google
from embedding import Run, again
from sources import as_zip, embedded, seen


@pytest.fixture
def cloud(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """A bucket that the environment tells the way to."""
    for name in [name for name in os.environ if name.startswith(("AZURE_", "GOOGLE_", "STORAGE_EMULATOR"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "near"))
    with request.param() as one:
        for name, value in one.environment.items():
            monkeypatch.setenv(name, value)
        yield one


@pytest.mark.parametrize("cloud", [google, azure], indirect=True)
def test_a_bucket_of_another_cloud_gives_the_store_of_the_folder(
    run: Run, pets: Path, tmp_path: Path, cloud: Cloud
) -> None:
    names = [file.relative_to(pets).as_posix() for file in pets.rglob("*.*")]
    for name in names:
        cloud.put(f"pets/{name}", (pets / name).read_bytes())
    first = min(names)
    cloud.put("pets/dog/ü +#%20.jpg", (pets / first).read_bytes())
    folder = embedded(run, tmp_path / "a", pets)
    found = embedded(run, tmp_path / "b", f"{cloud.address}/pets")
    assert found.pop("dog/ü +#%20.jpg")[:2] == folder[first][:2]
    assert found == folder
    assert again(run, tmp_path / "b", f"{cloud.address}/pets/") == {"found": 7, "cached": 7}
    cloud.put(f"pets/{first}", (pets / max(names)).read_bytes())
    assert again(run, tmp_path / "b", f"{cloud.address}/pets/") == {"found": 7, "cached": 6, "copied": 1}


@pytest.mark.parametrize("cloud", [google, azure], indirect=True)
def test_an_archive_in_a_bucket_of_another_cloud_is_the_one_on_the_disk(
    run: Run, pets: Path, tmp_path: Path, cloud: Cloud
) -> None:
    file = tmp_path / "pets.zip"
    as_zip(pets, file)
    address = f"{cloud.address}/files/pets.zip"
    cloud.put("files/pets.zip", file.read_bytes())
    assert embedded(run, tmp_path / "b", address) == embedded(run, tmp_path / "a", file)
    assert again(run, tmp_path / "b", address) == {"found": 6, "cached": 6}
    name = min(seen(tmp_path / "b", address))
    shown = run("similar", f"{address}/{name}", "--store", tmp_path / "b", "--sheet", tmp_path / "sheet.jpg")
    assert shown.status == 0, shown.err


@pytest.mark.parametrize("cloud", [azure], indirect=True)  # fake-gcs-server takes no puts as obstore sends them
def test_a_store_in_another_cloud_is_the_store_on_the_disk(run: Run, pets: Path, tmp_path: Path, cloud: Cloud) -> None:
    store = f"{cloud.address}/our.petrieve"
    assert embedded(run, store, pets) == embedded(run, tmp_path / "a", pets)
    assert again(run, store, pets) == {"found": 6, "cached": 6}
    for words in (("similar", min(pets.rglob("*.*"))), ("fit-head",), ("verify",)):
        done = run(*words, "--store", store)
        assert done.status == 0, done.err


@pytest.mark.parametrize("cloud", [azure], indirect=True)
def test_who_may_not_look_into_a_container_is_told_what_to_check(
    run: Run, tmp_path: Path, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "b3RoZXI=")
    done = run("embed", f"{cloud.address}/pets", "--store", tmp_path / "s")
    assert done.err.endswith("check the credentials in the environment\n"), done.err
    assert "b3Ro" not in done.err
