"""A store in a bucket: the same as on a disk, one run at a time, and a second look-up that fetches nothing."""

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from conftest import ROOT, Done, Process, bits
from embedding import NEW
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from servers import KEYS, Asked, Proxy, environment, made_bucket, nanio_server, put_folder

from petrieve.store import lease, tables
from petrieve.store import near as near_by
from petrieve.store.cache import Cache
from petrieve.store.errors import PetrieveError, first_line
from petrieve.store.folder import Store
from petrieve.store.lock import writing
from petrieve.store.tables import newest, write_table

Run = Callable[..., Done]
Start = Callable[..., Process]
SHORT = "from petrieve.store import lease; lease.SECONDS = 2"  # seconds


@pytest.fixture
def near(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where copies are kept of what lies in a bucket."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "near"))
    return tmp_path / "near"


@pytest.fixture
def address(proxy: Proxy, bucket: Any, near: Path) -> str:
    return f"s3://{bucket.name}/our pets.petrieve"


def one_line(done: Done) -> str:
    """The line that a command which was refused leaves, and that holds no secret."""
    assert done.status == 1, done.err
    assert not done.out
    line, *others = done.err.splitlines()
    assert not others
    assert not any(secret in line for secret in KEYS.values())
    return line


def same(run: Run, store: object, other: object, *words: object) -> None:
    """A command says of two stores the same."""
    told = [run(*words, "--store", one) for one in (store, other)]
    assert [one.status for one in told] == [0, 0], told[0].err + told[1].err
    first, second = (
        json.loads(one.out.replace(f"'{where}'", str(where)).replace(str(where), "STORE"))
        for one, where in zip(told, (store, other), strict=True)
    )
    for one in (first, second):
        if isinstance(one, dict):
            one.pop("seconds", None)
            (one.get("head") or {}).pop("seconds", None)
    assert first == second


def test_a_store_in_a_bucket_is_the_store_on_a_disk(run: Run, drawn: Path, store: Path, address: str) -> None:
    assert run("embed", drawn, *NEW, address).json["embedded"] == 40
    assert bits_of(address) == bits(store)
    photo = next((drawn / "cat").iterdir())
    for words in (
        ("fit-head",),
        ("info",),
        ("verify", "--sample", 4),
        ("similar", photo, "-k", 3, "--where", "label = 'cat'"),
        ("predict", photo),
        ("audit",),
        ("fit-head", "--method", "linear"),
        ("predict", photo),
    ):
        if words[0] == "fit-head":
            assert run(*words, "--store", address).status == run(*words, "--store", store).status == 0
        same(run, address, store, *words, "--json")
    assert run("embed", drawn, *NEW, address).json["cached"] == 40


def bits_of(address: str) -> dict[str, tuple[bytes, bytes]]:
    return bits(address)  # type: ignore[arg-type]


def test_what_is_in_a_bucket_is_fetched_once(
    run: Run, drawn: Path, made_store: Path, bucket: Any, proxy: Proxy, address: str
) -> None:
    put_folder(bucket, made_store, "our pets.petrieve/")
    photo = next((drawn / "cat").iterdir())
    for words, most in ((("similar", photo), 9), (("predict", photo), 5), (("fit-head",), 6)):
        assert run(*words, "--store", address).status == 0
        proxy.asked.clear()
        assert run(*words, "--store", address).status == 0
        assert len(proxy.asked) <= most, [one.path for one in proxy.asked]
        assert not proxy.count("GET", "/data/")
    asked = run("predict", photo, "--store", address, "--json").json
    assert run("fit-head", "--l2", "1000", "--store", address).status == 0
    assert run("predict", photo, "--store", address, "--json").json != asked, "another head is another file"


def test_copies_that_were_of_no_use_for_a_week_are_let_go(
    run: Run, made_store: Path, bucket: Any, near: Path, address: str
) -> None:
    put_folder(bucket, made_store, "our pets.petrieve/")
    for name, age in (("old", 8), ("new", 6)):
        file = near / "petrieve/another store" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        os.utime(file, (0, time.time() - age * 86_400))
    assert run("info", "--store", address).status == 0
    assert [file.name for file in (near / "petrieve/another store").iterdir()] == ["new"]


def test_damaged_copies_are_fetched_again_and_nothing_is_said_of_the_store(
    run: Run, drawn: Path, made_store: Path, bucket: Any, near: Path, address: str
) -> None:
    put_folder(bucket, made_store, "our pets.petrieve/")
    photo = next((drawn / "cat").iterdir())
    asked = [(*words, photo, "--store", address, "--json") for words in (("similar",), ("predict",))]
    told = [run(*words).json for words in asked]
    kept = [file for file in near.rglob("*") if file.is_file()]
    assert {".lance", ".manifest", ".safetensors"} <= {file.suffix for file in kept}
    for number, file in enumerate(kept):
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data if number % 2 else data[:-1])
    assert [run(*words).json for words in asked] == told


def test_an_index_in_a_bucket_is_fetched_once_and_large_tables_never(
    run: Run, many: Cache, bucket: Any, proxy: Proxy, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_folder(bucket, Path(str(many.store.path)), "our pets.petrieve/")
    for _ in range(2):
        same(run, address, many.store.path, "evaluate", "--json")
        same(run, address, many.store.path, "info", "--json")
    assert proxy.count("GET", "index.safetensors") == 1
    monkeypatch.setattr(near_by, "MOST_BYTES", 0)  # as if the tables were too large to be copied
    same(run, address, many.store.path, "evaluate", "--json")
    assert run("build-index", "--kind", "IVF4,Flat", "--store", address).status == 0
    assert run("info", "--store", address, "--json").json["index"]["kind"] == "IVF4,Flat"


def test_a_map_in_a_bucket_is_made_kept_and_mended_there(run: Run, many: Cache, bucket: Any, address: str) -> None:
    put_folder(bucket, Path(str(many.store.path)), "our pets.petrieve/")
    assert run("build-map", "--store", address).status == 0
    there = f"our pets.petrieve/{many.made.name}/map.safetensors"
    data = bucket.Object(there).get()["Body"].read()
    assert run("info", "--store", address, "--json").json["map"]["contents"] == 400
    bucket.put_object(Key=there, Body=data[:-1])
    assert run("info", "--store", address, "--json").json["map"]["fits"] is False
    assert run("build-map", "--store", address).status == 0
    assert bucket.Object(there).get()["Body"].read()[-1000:] == data[-1000:]


def test_of_two_runs_at_once_one_is_refused_and_told_who_writes(run: Run, few: Path, address: str) -> None:
    with writing(Store.at(address)):
        line = one_line(run("embed", few, *NEW, address))
    assert f"another run (process {os.getpid()} on {socket.gethostname()}) is writing to the store {address}" in line
    assert run("embed", few, *NEW, address).json["embedded"] == 6


def test_a_lock_in_other_words_counts_as_a_run_of_which_no_more_is_known(
    run: Run, few: Path, bucket: Any, address: str
) -> None:
    for words in (b"[1]", b'{"name": "x"}', b'{"name": "x", "seconds": "y"}', b"\xff"):
        bucket.put_object(Key="our pets.petrieve/.lock", Body=words)
        assert "another run (process ? on a machine that does not say)" in one_line(run("embed", few, *NEW, address))


def test_a_store_copied_from_a_disk_is_nobodys(
    run: Run, drawn: Path, made_store: Path, bucket: Any, address: str
) -> None:
    put_folder(bucket, made_store, "our pets.petrieve/")
    for words in ((made_store / ".lock").read_bytes(), b"1234 a-machine"):  # after a run that ended well, and not so
        bucket.put_object(Key="our pets.petrieve/.lock", Body=words)
        assert run("embed", drawn, *NEW, address).json["cached"] == 40


def committed(bucket: Any) -> bool:
    """Whether a run has committed photos twice, and has more to do."""
    time.sleep(0.1)  # the server has others to answer
    return len(list(bucket.objects.filter(Prefix="our pets.petrieve/photos.lance/_versions/"))) > 2


def test_a_killed_run_leaves_what_it_committed_and_its_lease_ends(
    run: Run, drawn: Path, made_store: Path, bucket: Any, start: Start, address: str
) -> None:
    killed = start("embed", drawn, *NEW, address, first=SHORT)
    killed.wait_for(lambda: committed(bucket))
    killed.kill_group()
    assert f"another run (process {killed.pid} on" in one_line(run("embed", drawn, *NEW, address))
    time.sleep(4)
    counts = run("embed", drawn, *NEW, address).json
    assert counts["cached"] >= 8
    assert counts["cached"] + counts["embedded"] + counts["copied"] == 40, "it may end between the two tables"
    assert bits_of(address) == bits(made_store)


@pytest.mark.torture
def test_a_run_that_slept_past_its_lease_commits_nothing_more(
    run: Run, few: Path, bucket: Any, proxy: Proxy, start: Start, address: str, tmp_path: Path
) -> None:
    arrived, awake = threading.Event(), threading.Event()

    def hold(asked: Asked) -> None:
        """Keep back what would be the run's commit of photos."""
        commit = asked.method == "PUT" and asked.path.endswith("photos.lance/_versions/18446744073709551613.manifest")
        if commit and not arrived.is_set():
            arrived.set()
            awake.wait(60)

    proxy.fault = hold
    asleep = start("embed", few, *NEW, address, first=SHORT)
    assert arrived.wait(60)
    asleep.send_signal(signal.SIGSTOP)
    time.sleep(4)
    assert run("embed", few, *NEW, address).json["found"] == 6
    before = versions(bucket)
    asleep.send_signal(signal.SIGCONT)
    awake.set()
    assert "another run has begun to write to the store" in one_line(asleep.done())
    assert versions(bucket) == before
    assert run("embed", few, *NEW, tmp_path / "s").json["embedded"] == 6
    assert bits_of(address) == bits(tmp_path / "s")
    assert run("verify", "--sample", 0, "--store", address).status == 0


def versions(bucket: Any) -> set[tuple[str, str]]:
    """What of a store says what is in it."""
    return {(one.key, one.e_tag) for one in bucket.objects.all() if one.key.endswith((".manifest", ".json"))}


def test_versions_that_nobody_reads_are_let_go(
    run: Run, few: Path, bucket: Any, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("embed", few, *NEW, address).json["embedded"] == 6
    for number in range(3):
        label(run, few, address, str(number))
    assert len(versions(bucket)) > 5
    monkeypatch.setattr(tables, "KEPT_SECONDS", -2)
    label(run, few, address, "last")
    assert len(versions(bucket)) == 3, "a card, and of each table the newest"
    assert run("verify", "--sample", 1, "--store", address).status == 0


def label(run: Run, photos: Path, address: str, name: str) -> None:
    """Give a photo a label that it had not."""
    Path("labels.csv").write_text(f"photo,label\n{next(photos.rglob('*.*'))},{name}\n")
    assert run("embed", photos, *NEW, address, "--labels", "labels.csv").status == 0


def test_a_server_on_which_two_can_win_is_refused(
    run: Run, few: Path, near: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with nanio_server(tmp_path / "nanio") as endpoint:
        for name, value in environment(endpoint).items():
            monkeypatch.setenv(name, value)
        bucket = made_bucket(endpoint, "pets")
        assert "it has no conditional puts" in one_line(run("embed", few, *NEW, "s3://pets/store"))
        assert not list(bucket.objects.all())


def test_answers_that_are_lost_and_bad_minutes_change_nothing(
    run: Run, few: Path, proxy: Proxy, address: str, tmp_path: Path
) -> None:
    seen = [0]

    def fault(asked: Asked) -> str | None:
        seen[0] += 1
        return None if seen[0] % 6 else "lost" if asked.method == "PUT" else "503"

    proxy.fault = fault
    assert run("embed", few, *NEW, address).json["embedded"] == 6
    assert run("verify", "--store", address).status == 0
    proxy.fault = lambda _: None
    assert run("embed", few, *NEW, tmp_path / "s").json["embedded"] == 6
    assert bits_of(address) == bits(tmp_path / "s")


def test_bad_seconds_of_the_server_end_no_commit(run: Run, few: Path, proxy: Proxy, address: str) -> None:
    refused: list[Asked] = []

    def fault(asked: Asked) -> str | None:
        if len(refused) == 17 or asked.method != "PUT" or "/data/" not in asked.path:
            return None
        if refused and refused[0].path != asked.path:
            return None
        refused.append(asked)
        return "503"

    proxy.fault = fault
    assert run("embed", few, *NEW, address).json["embedded"] == 6
    assert len(refused) == 17


@pytest.mark.parametrize("part", ["", ".lock", "/data/", "_versions/"])
def test_no_access_is_one_line_without_secrets(
    start: Start, run: Run, few: Path, proxy: Proxy, address: str, part: str
) -> None:
    proxy.fault = lambda asked: "403" if part in asked.path else None
    line = one_line(run("embed", few, *NEW, address))
    assert address in line
    if part == "/data/":
        assert line.partition(f"{address}: ")[2].startswith("it answered 403 Forbidden; see that it can be reached")
    if part == "_versions/":  # where Lance, too, has something to say
        assert address in one_line(start("embed", few, *NEW, address).done())


def test_what_a_server_says_beyond_its_status_and_what_signs_an_address_is_not_passed_on() -> None:
    told = "Error performing PUT https://a.net/b/c?sig=SECRET&x=1 in 2ms - Server returned non-2xx status code: "
    line = first_line(
        OSError(f"{told}403 Forbidden: <?xml?><Message>Credential=SECRET</Message>, /home/r/x.rs:1\nmore")
    )
    assert line.endswith("https://a.net/b/c in 2ms - Server returned non-2xx status code: 403 Forbidden")


def test_a_store_of_an_old_format_in_a_bucket_is_refused(run: Run, few: Path, bucket: Any, address: str) -> None:
    put_folder(bucket, ROOT / "tests/stores/3/store", "our pets.petrieve/")
    assert "copy it to a disk" in one_line(run("embed", few, *NEW, address))


@pytest.mark.parametrize("name", ["", "a//b", "a%41", "a#b", "a?b", "a/../b", "a\nb"])
def test_where_no_store_can_lie_is_told(run: Run, few: Path, address: str, name: str) -> None:
    assert "no store can lie at" in one_line(run("embed", few, *NEW, f"{address.rpartition('/')[0]}/{name}"))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(min_size=1, max_size=12))
@example(name="a b+c&d=e;[f]\\^~|{ü🐈}.")
def test_where_a_store_may_lie_lance_and_we_mean_the_same_place(bucket: Any, address: str, name: str) -> None:
    try:
        store = Store.at(f"{address}/{name}")
    except PetrieveError:
        return
    with writing(store):
        write_table(store.photos, pa.table({"number": [1]}), mode="create")
        assert newest(store.photos)
        (file,) = [one.key for one in bucket.objects.all() if one.key.endswith(".manifest")]
        assert file.startswith(f"our pets.petrieve/{name.rstrip('/')}/photos.lance/_versions/")
    for one in bucket.objects.all():
        one.delete()


def test_a_store_at_an_address_of_no_bucket_is_refused(run: Run, few: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    for name in ("file:///tmp/x", "https://pets.org/store", "s3://"):
        assert "is not the address of a bucket" in one_line(run("embed", few, *NEW, name))
    assert sorted(tmp_path.iterdir()) == before


def test_without_the_extra_its_name_is_told(run: Run, few: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-central-1")  # so that the bucket is reached anew
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    assert "petrieve[bucket]" in one_line(run("info", "--store", address))


def test_a_lease_lasts_longer_than_a_request_may_take() -> None:
    assert lease.SECONDS >= 60
