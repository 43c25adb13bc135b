"""Too large, too many, too long, and what breaks meanwhile: each is a sentence, and the page goes on."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from conftest import ODD, Process, fill, need
from pages import Gallery, opened

Start = Callable[..., Process]
MB = 1 << 20
JSON = {"accept": "application/json"}
SLOW = (
    "import petrieve.gallery.web.app as app, time; take = app.take_in; "
    "app.take_in = lambda *given: (time.sleep({}), take(*given))[1]"
)


def dropped(gallery: Gallery, *photos: bytes) -> requests.Response:
    return gallery.post("drop", files=[("photos", (f"{n}.jpg", data)) for n, data in enumerate(photos)])


def test_each_odd_file_is_answered_in_time(gallery: Gallery) -> None:
    files = [one for one in sorted(need(ODD).rglob("*")) if one.is_file() and one.name not in ("LICENSE", "README.md")]
    for file in files:
        begun = time.monotonic()
        answer = dropped(gallery, file.read_bytes())
        assert answer.status_code in (200, 422), file
        assert answer.status_code == 200 or "cannot embed" in answer.text, file
        assert time.monotonic() - begun < 20, file
    assert gallery.get().status_code == 200


def pieces(count: int) -> Iterator[bytes]:
    yield b'--x\r\nContent-Disposition: form-data; name="photos"; filename="a.jpg"\r\n\r\n'
    for _ in range(count):
        yield bytes(MB)


def test_what_comes_without_a_length_is_counted_as_it_comes(gallery: Gallery) -> None:
    said = {"Content-Type": "multipart/form-data; boundary=x"}
    assert gallery.post("drop", data=pieces(250), headers=said).url == gallery.home  # it has no end
    assert gallery.post("drop", data=pieces(270), headers=said).status_code == 413
    lying = {**said, "Content-Length": str(1 << 40), "Connection": "close"}
    long = requests.post(gallery.home + "drop", data=b"", headers=lying, cookies=gallery.asked.cookies, timeout=20)
    assert long.status_code == 413
    assert "too large" in long.text
    many = dropped(gallery, *[b"x"] * 9)
    assert (many.status_code, "Maximum number of files is 8" in many.text) == (400, True)
    broken = gallery.post("drop", data=b"--y", headers=said)
    assert broken.status_code == 400


def test_many_at_once_wait_or_are_sent_away_with_a_sentence(store: Path, drawn: Path, start: Start) -> None:
    photo = (drawn / "cat" / "milo-1.jpg").read_bytes()
    with opened(store, lambda *words: start(*words, first=SLOW.format(1))) as gallery:
        with ThreadPoolExecutor(14) as crowd:
            answers = list(crowd.map(lambda _: dropped(gallery, photo), range(14)))
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) == {200, 503}
        assert statuses.count(200) == 8
        assert all("try again in a minute" in one.text for one in answers if one.status_code == 503)
        assert dropped(gallery, photo).status_code == 200


def test_a_condition_that_takes_too_long_is_no_longer_waited_for(store: Path, drawn: Path, start: Start) -> None:
    slow = (
        "import petrieve.gallery.web.ask as ask, petrieve.gallery.web.desk as desk, time; answer = ask.answer; "
        "desk.CONDITION_SECONDS = 2; "
        "seconds = lambda asked: 4 if 'slow' in asked.filters.where else 0; "
        "ask.answer = lambda desk, asked: (time.sleep(seconds(asked)), answer(desk, asked))[1]"
    )
    photo = (drawn / "cat" / "milo-1.jpg").read_bytes()
    with opened(store, lambda *words: start(*words, first=slow)) as gallery:
        at = dropped(gallery, photo).url.removeprefix(gallery.home)
        with ThreadPoolExecutor(1) as other:
            late = other.submit(gallery.get, at + "&where=label = 'slow'")
            time.sleep(0.5)
            assert gallery.get(at + "&label=cat").status_code == 200  # nobody else waits
            assert not late.done()
            answer = late.result()
        assert answer.status_code == 503
        assert "took longer than 2 s" in answer.text


def test_a_condition_in_browse_is_bounded_too_and_others_go_on(store: Path, start: Start) -> None:
    slow = (
        "import petrieve.store.conditions as conditions, petrieve.gallery.web.desk as desk, time; "
        "desk.CONDITION_SECONDS = 2; found = conditions.filtered; "
        "conditions.filtered = lambda table, condition, *more, **given: "
        "(time.sleep(4 if 'slow' in condition else 0), found(table, condition, *more, **given))[1]"
    )
    with opened(store, lambda *words: start(*words, first=slow)) as gallery, ThreadPoolExecutor(1) as other:
        late = other.submit(gallery.get, "browse?where=label = 'slow'")
        time.sleep(0.5)
        for path in ("browse", "browse?label=cat", "browse?order=unusual"):  # nobody else waits
            assert gallery.get(path).status_code == 200
        assert not late.done()
        assert (late.result().status_code, "took longer than 2 s" in late.result().text) == (503, True)


def test_a_condition_may_not_ask_for_all_memory(gallery: Gallery, drawn: Path) -> None:
    at = dropped(gallery, (drawn / "cat" / "milo-1.jpg").read_bytes()).url.removeprefix(gallery.home)
    for called in ("repeat", "REPEAT /* a ' */ ", "`repeat`", "lpad", "range"):
        answer = gallery.get(at, params={"where": f"label = 'it''s (' OR length({called}(label, 3000000)) > 0"})
        assert "may not call" in answer.text, called
        assert "may not call" in gallery.get("browse", params={"where": f"length({called}(label, 3)) > 0"}).text
    fine = "lower(label) = 'cat' AND (label LIKE 'c%(' OR label IN ('cat', 'x (')) -- repeat("
    answer = gallery.get(at, params={"where": fine})
    assert answer.text.count("<i>label</i> cat</b>") == 19


def test_wrong_passwords_are_slow_and_hold_up_nobody_else(
    store: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PETRIEVE_PASSWORD", "mimi")
    with opened(store, start, "--host", "0.0.0.0") as gallery:
        stranger = requests.Session()
        page = stranger.get(gallery.home, timeout=20)
        assert page.url == gallery.home + "enter"
        assert "<input" in page.text

        def guess(word: str, address: str) -> requests.Response:
            return requests.post(address + "enter", data={"password": word}, timeout=20, allow_redirects=False)

        begun = time.monotonic()
        with ThreadPoolExecutor(12) as crowd:
            wrong = list(crowd.map(lambda n: guess(f"m{n}", gallery.home), range(12)))
            assert time.monotonic() - begun >= 4
        assert {one.status_code for one in wrong} == {403, 429}
        assert not any("set-cookie" in one.headers for one in wrong)
        right = stranger.post(gallery.home + "enter", data={"password": "mimi"}, timeout=20)
        assert right.status_code == 200
        assert "photos" in right.text
        assert gallery.get("?photo=00").status_code == 200


def test_others_see_no_folder_of_this_machine(
    store: Path, drawn: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PETRIEVE_PASSWORD", "mimi")
    with opened(store, start, "--host", "0.0.0.0") as gallery:
        answer = dropped(gallery, (drawn / "cat" / "milo-1.jpg").read_bytes())
        assert "milo-2.jpg" in answer.text
        (store / "store.json").write_text("{")
        for text in (answer.text, gallery.get("?where=x = 3").text, gallery.get().text, dropped(gallery, b"x").text):
            assert str(store) not in text
            assert str(drawn) not in text


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_it_is_not_opened_to_others_without_a_password(store: Path, host: str) -> None:
    command = [sys.executable, str(Path(__file__).parents[3] / "cli.py"), "gallery", "--store", store, "--no-browser"]
    without = {name: value for name, value in os.environ.items() if name != "PETRIEVE_PASSWORD"}
    done = subprocess.run(
        [*command, "--host", host], env=without, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "PETRIEVE_PASSWORD" in line


def test_it_answers_at_six_part_addresses_and_says_that_a_port_is_taken(store: Path, start: Start) -> None:
    with opened(store, start, "--host", "::1") as gallery:
        assert gallery.home.startswith("http://[::1]:")
        assert gallery.get().status_code == 200
        port = gallery.home.rstrip("/").rpartition(":")[2]
        done = start("gallery", "--store", store, "--no-browser", "--host", "::1", "--port", port).done()
        assert (done.status, len(done.err.splitlines())) == (1, 1)
        assert "--port" in done.err


@pytest.mark.parametrize(("signal_", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_it_ends_at_once_while_a_photo_is_decoded(
    store: Path, drawn: Path, start: Start, signal_: int, status: int
) -> None:
    photo = (drawn / "cat" / "milo-1.jpg").read_bytes()
    with opened(store, lambda *words: start(*words, first=SLOW.format(60))) as gallery, ThreadPoolExecutor(1) as other:
        asked = other.submit(dropped, gallery, photo)
        time.sleep(0.7)
        begun = time.monotonic()
        gallery.process.send_signal(signal_)
        done = gallery.process.done()
        assert time.monotonic() - begun < 3
        assert (done.status, done.err) == (status, "")
        with pytest.raises(requests.ConnectionError):
            asked.result()


def test_two_galleries_show_one_store_each_with_its_own_key(store: Path, start: Start) -> None:
    with opened(store, start) as one, opened(store, start) as two:
        there = dict(one.asked.cookies.items())
        assert requests.get(two.home, cookies=there, timeout=20).status_code == 403
        one.asked.get(two.address, timeout=60)
        assert one.get().status_code == one.asked.get(two.home, timeout=60).status_code == 200


def test_a_store_that_goes_or_breaks_meanwhile_is_told_in_a_sentence(store: Path, drawn: Path, start: Start) -> None:
    with opened(store, start) as gallery:
        at = dropped(gallery, (drawn / "cat" / "milo-1.jpg").read_bytes()).url.removeprefix(gallery.home)
        for file in store.glob("thumbnails.sqlite*"):
            file.write_bytes(b"not a database" * 1000)
        photo = gallery.get(at).text.split('src="')[-1].split('"')[0]
        assert gallery.get(photo).status_code == 200
        shutil.rmtree(store)
        for path in ("", at, "photo/" + "0" * 32 + ".jpg"):
            answer = gallery.get(path)
            assert answer.status_code in (200, 404, 422), path
        assert dropped(gallery, min((drawn / "dog").iterdir()).read_bytes()).status_code in (200, 422)
    done = gallery.process.kill_group()
    assert "Traceback" not in done.err


def test_thumbnails_are_shown_also_where_none_can_be_kept(store: Path, drawn: Path, disk: Path, start: Start) -> None:
    shutil.copytree(store, disk / "store")
    fill(disk, leave=20_000)
    with opened(disk / "store", start) as gallery:
        page = dropped(gallery, (drawn / "cat" / "milo-1.jpg").read_bytes()).text
        shown = [word.split('"')[0] for word in page.split('src="')[1:] if word.startswith(("photo/", "./photo/"))]
        assert len(shown) == 25, page
        assert {gallery.get(one).status_code for one in shown} == {200}


def test_a_store_that_cannot_be_written_to_is_shown_and_says_why_nothing_is_kept(
    store: Path, drawn: Path, disk: Path, start: Start
) -> None:
    (store / "decisions.jsonl").write_text("")
    shutil.copytree(store, disk / "store")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with opened(disk / "store", start) as gallery:
        at = dropped(gallery, (drawn / "cat" / "milo-1.jpg").read_bytes()).url.removeprefix(gallery.home)
        pages = [gallery.get(path) for path in (at, "browse?order=unusual", "library", "review")]
        assert {one.status_code for one in pages} == {200}
        while "unsure" not in gallery.get("review/state").json()["made"]:
            time.sleep(0.1)
        (item, *_) = gallery.get("review/unsure/items").json()["items"]
        said = [
            gallery.post("review/unsure", data={"key": item["key"], "decision": "right"}, headers=JSON).json()[
                "problem"
            ]
        ]
        for column in ("label", "age"):
            fields = {"do": "say", "column": column, "value": "1", "photo": item["photos"][0]["digest"]}
            said.append(gallery.post("browse/selected", data=fields).text)
        assert all("cannot write" in one and "Traceback" not in one for one in said), said
        for name in ("fit", "index"):
            gallery.post(f"library/{name}")
            while not (job := gallery.get("library/state").json()["job"])["ended"]:
                time.sleep(0.1)
            assert "Read-only file system" in job["problem"], job
    assert "Traceback" not in gallery.process.kill_group().err
