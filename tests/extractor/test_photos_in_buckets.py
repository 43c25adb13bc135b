"""Photos in buckets: the store that the folder would have given, whatever the network does; against real servers."""

import io
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from embedding import Run, again, listed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers import KEYS, Asked, Proxy, one_of_five, put_folder
from sources import embedded, seen

from petrieve.extractor.sources import non_photos
from petrieve.extractor.sources.ahead import one_ahead
from petrieve.extractor.sources.blob import blob_at
from petrieve.extractor.sources.buckets import fetching, remote
from petrieve.extractor.sources.places import source_at
from petrieve.store import asking
from petrieve.store.asking import Unreached
from petrieve.store.cache import Cache

ODD = ("a b.jpg", "a+b.jpg", "a%20b.jpg", "a#b?c.jpg", "ü.jpg", "/x.jpg", "A.jpg", "a.jpg", "d//y.jpg", "t\t.jpg")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not pass is given up soon, and tried again soon."""
    monkeypatch.setattr(asking, "PATIENCE", 0.5)
    monkeypatch.setattr(fetching, "PROBE", 0.05)


@pytest.fixture
def address(pets: Path, proxy: Proxy, bucket: Any) -> str:
    """Where the six pets are in a bucket."""
    put_folder(bucket, pets, "pets/")
    return f"s3://{bucket.name}/pets"


def is_get(part: str) -> Callable[[Asked], bool]:
    return lambda one: one.method == "GET" and part in one.path


def test_a_bucket_gives_the_store_of_the_folder(
    run: Run, pets: Path, tmp_path: Path, address: str, proxy: Proxy, bucket: Any
) -> None:
    for key in ("pets/cat/notes.txt", "pets/cat/.hidden.jpg", "pets/@eaDir/x.jpg", "petsitter/y.jpg", "pets/cat/"):
        bucket.put_object(Key=key, Body=b"" if key.endswith("/") else b"no photo")
    assert embedded(run, tmp_path / "a", pets) == embedded(run, tmp_path / "b", address)
    proxy.asked.clear()
    done = run("embed", f"{address}/", "--store", tmp_path / "b", "--json")
    assert (done.json["found"], done.json["cached"]) == (6, 6)
    assert done.json["network"] is None, "photos that are cached are not asked for"
    assert done.json["sources"][address]["passed_over"] == {".txt": 1, "@eaDir": 1}
    assert proxy.count("GET", "/pets/") == 0


def test_odd_keys_go_there_and_back(run: Run, pets: Path, tmp_path: Path, proxy: Proxy, bucket: Any) -> None:
    photos = [file.read_bytes() for file in sorted(pets.rglob("*.*"))]
    contents = {name: photos[number % 6] for number, name in enumerate(ODD)}
    for name, data in contents.items():
        bucket.put_object(Key=f"o d#d/{name}", Body=data)
    address, store = f"s3://{bucket.name}/o d#d", tmp_path / "s"
    found = embedded(run, store, address)
    assert found.keys() == contents.keys()
    assert [found[name][0] for name in ODD[:4]] == [found[name][0] for name in ODD[6:]]
    assert again(run, store, address) == {"found": 10, "cached": 10}
    for name in ("d//y.jpg", "a#b?c.jpg"):
        shown = run("similar", f"{address}/{name}", "--store", store, "--json", "--sheet", tmp_path / "sheet.jpg")
        assert shown.status == 0, shown.err
        assert shown.json["photo"] == f"{address}/{name}"
        assert all(one["photo"].startswith(f"{address}/") for one in shown.json["neighbours"])


def test_a_key_that_begins_with_a_slash_is_not_the_one_without(
    run: Run, pets: Path, tmp_path: Path, proxy: Proxy, bucket: Any
) -> None:
    first, second, *_ = sorted((pets / "cat").iterdir())
    bucket.put_object(Key="/x.jpg", Body=first.read_bytes())
    bucket.put_object(Key="x.jpg", Body=second.read_bytes())
    found = embedded(run, tmp_path / "s", f"s3://{bucket.name}")
    assert (found.keys(), len({one[0] for one in found.values()})) == ({"/x.jpg", "x.jpg"}, 2)


@pytest.mark.parametrize("fault", ["503", "429", "cut", "slow"])
def test_what_one_of_five_requests_suffers_loses_nothing(
    run: Run, pets: Path, tmp_path: Path, address: str, proxy: Proxy, fault: str
) -> None:
    proxy.fault = one_of_five(fault)
    assert embedded(run, tmp_path / "b", address).keys() == {
        file.relative_to(pets).as_posix() for file in pets.rglob("*.*")
    }


@pytest.mark.usefixtures("impatient")
def test_a_photo_that_cannot_be_reached_is_listed_and_tried_by_the_next_run(
    run: Run, pets: Path, tmp_path: Path, address: str, proxy: Proxy
) -> None:
    name = next((pets / "cat").iterdir()).name
    proxy.fault = lambda one: "503" if name in one.path else None
    assert again(run, tmp_path / "s", address) == {"found": 6, "embedded": 5, "unreadable": 1}
    bucket = address.removesuffix("/pets")
    assert listed(tmp_path / "s") == {
        f"{address}/cat/{name}": f"cannot be read: {bucket} could not be reached: it answered 503 SlowDown"
    }
    proxy.fault = lambda _: None
    assert again(run, tmp_path / "s", address) == {"found": 6, "embedded": 1, "cached": 5}
    assert not listed(tmp_path / "s")


@pytest.mark.usefixtures("impatient")
def test_a_bucket_that_answers_no_more_ends_no_run_and_does_not_hold_it_up(
    run: Run, drawn: Path, tmp_path: Path, proxy: Proxy, bucket: Any
) -> None:
    put_folder(bucket, drawn, "")
    address = f"s3://{bucket.name}"
    run("embed", f"{address}/cat/", "--store", tmp_path / "s", "--weights", "bundled")
    proxy.fault = lambda one: "503" if "/dog/" in one.path else None
    counts = again(run, tmp_path / "s", address)
    assert (counts["found"], counts["unreadable"]) == (40, 20)
    assert proxy.count("GET", "/dog/") < 400


def test_credentials_that_end_for_good_are_one_line_and_what_was_committed_stays(
    run: Run, drawn: Path, tmp_path: Path, proxy: Proxy, bucket: Any
) -> None:
    put_folder(bucket, drawn, "")
    proxy.fault = lambda one: "400" if "/dog/" in one.path else None
    done = run("embed", f"s3://{bucket.name}", "--store", tmp_path / "s", "--weights", "bundled")
    assert done.status == 1
    assert "have ended; renew them and run the command again: what was committed stays" in done.err
    assert done.err.count("\n") == 1
    proxy.fault = lambda _: None
    before = sum(len(rows) for rows, _ in Cache.open(tmp_path / "s").embeddings())
    assert before
    counts = again(run, tmp_path / "s", f"s3://{bucket.name}")
    assert counts["cached"] == before


def test_an_object_that_changed_after_it_was_listed_is_what_it_is_now(
    run: Run, pets: Path, tmp_path: Path, address: str, proxy: Proxy, bucket: Any
) -> None:
    first, second, *_ = sorted((pets / "cat").iterdir())
    done = []

    def changed(one: Asked) -> None:
        if one.method == "GET" and first.name in one.path and not done:
            done.append(bucket.put_object(Key=f"pets/cat/{first.name}", Body=second.read_bytes()))

    proxy.fault = changed  # type: ignore[assignment]
    found = embedded(run, tmp_path / "s", address)
    assert found[f"cat/{first.name}"][0] == found[f"cat/{second.name}"][0]
    proxy.fault = lambda _: None
    assert embedded(run, tmp_path / "s", address) == found


def test_objects_that_went_are_gone_and_those_that_changed_are_read_again(
    run: Run, pets: Path, tmp_path: Path, address: str, proxy: Proxy, bucket: Any
) -> None:
    again(run, tmp_path / "s", address)
    first, second, third = sorted(file.name for file in (pets / "cat").iterdir())
    bucket.Object(f"pets/cat/{first}").delete()
    bucket.put_object(Key=f"pets/cat/{second}", Body=(pets / "cat" / third).read_bytes())
    proxy.asked.clear()
    assert again(run, tmp_path / "s", address) == {"found": 5, "cached": 4, "copied": 1, "missing": 1}
    assert proxy.count("GET", "/pets/") == 1


def test_labels_name_photos_by_key_and_by_address(
    run: Run, pets: Path, tmp_path: Path, address: str, proxy: Proxy
) -> None:
    first, second, *_ = sorted((pets / "cat").iterdir())
    csv = tmp_path / "l.csv"
    csv.write_text(f"photo,label\ncat/{first.name},tom\n{address}/cat/{second.name},tim\n")
    done = run("embed", address, "--store", tmp_path / "s", "--weights", "bundled", "--labels", csv)
    assert (done.status, "names" in done.err) == (0, False), done.err
    labels = {name: one[2] for name, one in seen(tmp_path / "s", address).items()}
    assert (labels[f"cat/{first.name}"], labels[f"cat/{second.name}"]) == ("tom", "tim")


def test_one_photo_a_prefix_without_photos_and_no_bucket(
    run: Run, pets: Path, tmp_path: Path, address: str, proxy: Proxy, bucket: Any
) -> None:
    store = ("--store", tmp_path / "s", "--weights", "bundled")
    name = next((pets / "cat").iterdir()).name
    assert again(run, tmp_path / "s", f"{address}/cat/{name}") == {"found": 1, "embedded": 1}
    bucket.put_object(Key="notes/a.txt", Body=b"0")
    for place, words in (
        (f"s3://{bucket.name}/notes", "holds 1 .txt"),
        (f"s3://{bucket.name}/none", "there is no photo in"),
        ("s3://no-such-bucket-here/x", "there is no bucket s3://no-such-bucket-here; check its name"),
        ("ftp://host/x", "write s3://BUCKET/PREFIX"),
    ):
        done = run("embed", place, *store)
        assert (done.status, words in done.err) == (1, True), done.err


def test_the_endpoint_is_an_option_too(
    run: Run, tmp_path: Path, address: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    words = ("embed", address, "--store", tmp_path / "s", "--weights", "bundled")
    done = run(*words, "--endpoint", proxy.endpoint, "--json")
    assert done.json["network"]["requests_per_second"] > 0, done.err
    assert run(*words, "--endpoint", "127.0.0.1").status == 2


@pytest.mark.usefixtures("impatient")
def test_no_secret_and_no_signature_is_said_or_kept(
    run: Run, pets: Path, tmp_path: Path, address: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's complaints hold the request's signature, as some servers' do."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", "TokenOfTheTests")
    said = []
    for fault in ("503", "403", "400", "slow", "cut"):
        proxy.fault = lambda one, fault=fault: fault if "/cat/" in one.path else None  # type: ignore[misc]
        done = run("embed", address, "--store", tmp_path / "s", "--weights", "bundled")
        said += [done.out, done.err, *listed(tmp_path / "s").values()]
        proxy.fault = lambda _, fault=fault: fault  # type: ignore[misc]
        done = run("embed", address, "--store", tmp_path / "s", "--weights", "bundled")
        said += [done.out, done.err]
    kept = b"".join(file.read_bytes() for file in (tmp_path / "s").rglob("*") if file.is_file())
    for secret in (*KEYS.values(), "TokenOfTheTests", "Signature", "X-Amz"):
        if secret != KEYS["AWS_REGION"]:
            assert secret not in "".join(said)
            assert secret.encode() not in kept


def test_many_are_asked_for_at_once_and_across_parts(
    drawn: Path, proxy: Proxy, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_folder(bucket, drawn, "")
    monkeypatch.setattr(non_photos, "PART", 5)
    parts = list(source_at(f"s3://{bucket.name}").parts())
    proxy.delay = 0.2
    reads = one_ahead(part.read({photo.uri for photo in part.photos}) for part in parts)
    assert sum(isinstance(one, tuple) for some in reads for one in some) == 40
    assert proxy.most > 5


def test_what_waits_in_memory_is_bounded(proxy: Proxy, bucket: Any) -> None:
    many = fetching.Fetching(at_once=8, room=1000)
    asked: list[int] = []
    coming = [many.ahead(lambda number=number: asked.append(number), 100) for number in range(100)]  # type: ignore[misc]
    while many.filled < 1000:
        pass
    assert sorted(asked) == list(range(10))
    while coming:
        coming.pop(0).result()
    assert len(asked) == 100
    dropped = [many.ahead(lambda: asked.append(0), 1000) for _ in range(100)]
    del dropped
    assert many.filled <= 1000


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("seek"), st.integers(-50, 5300), st.sampled_from([0, 1, 2])),
            st.tuples(st.just("read"), st.integers(-1, 3000), st.just(0)),
        ),
        max_size=12,
    )
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_object_is_read_as_a_file_is(
    proxy: Proxy, bucket: Any, monkeypatch: pytest.MonkeyPatch, steps: list[tuple[str, int, int]]
) -> None:
    monkeypatch.setattr(remote, "BLOCK", 700)
    monkeypatch.setattr(remote, "KEPT", 3)
    data = bytes(number * 7 % 251 for number in range(5000))
    if not list(bucket.objects.limit(1)):
        bucket.put_object(Key="k", Body=data)
    blob = blob_at(f"s3://{bucket.name}/k")
    assert blob is not None
    assert blob.head() == data[:512]
    with blob.open() as file, io.BytesIO(data) as other:
        for act, number, whence in steps:
            answers = []
            for one in (file, other):
                try:
                    answers.append(one.read(number) if act == "read" else one.seek(number, whence))
                except (OSError, ValueError):
                    answers.append("no")
            if answers[0] == "no":  # before the beginning, where BytesIO goes to it
                other.seek(file.tell())
            else:
                assert answers[0] == answers[1]
                assert file.tell() == other.tell()


def test_a_file_that_changes_between_two_ranges_is_not_mixed(proxy: Proxy, bucket: Any) -> None:
    bucket.put_object(Key="k", Body=bytes(3 << 20))
    blob = blob_at(f"s3://{bucket.name}/k")
    assert blob is not None
    with blob.open() as file:
        assert file.read(10) == bytes(10)
        bucket.put_object(Key="k", Body=b"1" * (3 << 20))
        file.seek(2 << 20)
        for asked in (1, 0):
            proxy.asked.clear()
            with pytest.raises(OSError, match="it changed while it was read"):
                file.read(10)
            assert len(proxy.asked) == asked


def test_the_doctor_names_the_network_as_a_stage(run: Run, tmp_path: Path, address: str, proxy: Proxy) -> None:
    proxy.delay = 0.2
    done = run("doctor", address, "--store", tmp_path / "s", "--weights", "bundled", "--json")
    assert done.status == 0, done.err
    assert {"network", "decode", "trunk", "commit"} < done.json["stages"].keys()
    assert "read" not in done.json["stages"]
    assert 1 < done.json["network"]["requests_per_second"] <= 30
    assert done.json["network"]["bytes_per_second"] > 1000
    assert "requests/s" in run("doctor", address, "--store", tmp_path / "s", "--weights", "bundled").out


def test_copies_in_a_bucket_are_found_and_a_store_of_it_goes_out_and_in_again(
    run: Run, pets: Path, tmp_path: Path, address: str, proxy: Proxy, bucket: Any
) -> None:
    first = min((pets / "cat").iterdir())
    bucket.put_object(Key="pets/copy.jpg", Body=first.read_bytes())
    store = tmp_path / "s"
    again(run, store, address)
    found = run("duplicates", "--store", store, "--json")
    assert found.status == 0, found.err
    groups = [{photo["photo"] for photo in group["photos"]} for group in found.json["groups"]]
    assert {f"{address}/copy.jpg", f"{address}/cat/{first.name}"} in groups
    assert run("verify", "--store", store).status == 0
    assert run("export", tmp_path / "out", "--store", store).status == 0
    assert run("import", tmp_path / "out", "--store", tmp_path / "t").status == 0
    assert seen(tmp_path / "t", address) == seen(store, address)


def test_a_server_that_bears_two_requests_at_once_gets_no_more_for_long() -> None:
    many = fetching.Fetching(at_once=16)
    lock, now, refused = threading.Lock(), [0], [0]

    def ask() -> tuple[None, bytes]:
        with lock:
            now[0] += 1
            crowded = now[0] > 2
            refused[0] += crowded
        time.sleep(0.005)
        with lock:
            now[0] -= 1
        if crowded:
            raise Unreached(5, "503")
        return None, b"0"

    coming = [many.ahead(lambda: many.asked("s3://pets/k", ask), 1) for _ in range(80)]
    assert [one.result()[1] for one in coming] == [b"0"] * 80
    assert refused[0] < 80
