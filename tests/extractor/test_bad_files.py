"""Bad files: each costs itself alone, is listed once with a reason that a person understands, and nothing is lost."""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import corpus
import numpy as np
import pytest
import simplejpeg
from conftest import ODD, Done, need
from damaging import check, check_the_scene
from embedding import listed
from PIL import Image
from planting import seen

from petrieve.extractor.engines.local import View
from petrieve.extractor.pixels import own_process
from petrieve.extractor.pixels.decode import decode_small, upright_image
from petrieve.extractor.sources.folder import find, read_photo
from petrieve.store.errors import Undecodable
from petrieve.store.rows import Unreadable

Run = Callable[..., Done]
ROOT = Path(__file__).resolve().parents[2]


def test_in_a_folder_of_bad_files_every_good_photo_is_embedded(run: Run, tmp_path: Path) -> None:
    expected = corpus.make_corpus(tmp_path / "corpus", damaged=60)
    check(run, tmp_path / "corpus", tmp_path / "s", expected)
    check_the_scene(tmp_path / "corpus", tmp_path / "s", expected)


def test_what_a_decoder_raises_unexpectedly_costs_its_photo(
    run: Run, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = sorted(few.rglob("*.jpg"))[0]
    decode = simplejpeg.decode_jpeg

    def mistaken(data: bytes, *words: object, **others: object) -> object:
        if data == bad.read_bytes():
            raise TypeError("a mistake\nin two lines")
        return decode(data, *words, **others)

    monkeypatch.setattr(simplejpeg, "decode_jpeg", mistaken)
    done = run("embed", few, "--store", tmp_path / "s", "--weights", "bundled", "--json")
    assert (done.status, done.json["embedded"], done.json["unreadable"]) == (0, 5, 1)
    assert listed(tmp_path / "s") == {str(bad): "its decoder fails: TypeError: a mistake"}
    assert run("predict", bad, "--store", tmp_path / "s").status == 1


@pytest.mark.real
def test_odd_files_from_the_wild_are_embedded_or_listed(run: Run, tmp_path: Path) -> None:
    folder = need(ODD)
    expected = {photo.path: "either" for photo in find(folder)}
    check(run, folder, tmp_path / "s", expected)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> list[own_process.Child]:
    """No decoding process is there yet."""
    idle: list[own_process.Child] = []
    monkeypatch.setattr(own_process, "_idle", idle)
    return idle


def of_this_process(pid: int = os.getpid()) -> set[int]:
    """The pids of the decoding processes that this one has started."""
    listed = (file.read_text().split() for file in Path(f"/proc/{pid}/task").glob("*/children"))
    found = {int(child) for children in listed for child in children}
    return {child for child in found if b".pixels.own_process" in Path(f"/proc/{child}/cmdline").read_bytes()}


TIFF = corpus.encoded(Image.new("RGB", (300, 260), "teal"), format="TIFF")


def test_a_decoder_that_is_killed_once_costs_nothing(fresh: list[own_process.Child]) -> None:
    decode_small(TIFF)
    (child,) = fresh
    threading.Timer(0.5, lambda: os.kill(child.pid, signal.SIGKILL)).start()
    assert decode_small(corpus.slow(6000))[1:3] == (6000, 6000)
    assert fresh != [child]


@pytest.mark.parametrize(
    ("number", "reason", "may_pass"),
    [
        (signal.SIGSEGV, "crashes its decoder", False),
        (signal.SIGKILL, "cannot be read: its decoder could not run, or was killed", True),
    ],
)
def test_a_photo_whose_decoder_dies_twice_costs_itself_alone(
    fresh: list[own_process.Child], tmp_path: Path, number: signal.Signals, reason: str, may_pass: bool
) -> None:
    """A crash is the photo's doing; a kill is the system's, and the next run tries again."""
    (tmp_path / "crash.png").write_bytes(corpus.slow(6000))
    (tmp_path / "good.tif").write_bytes(TIFF)
    crash, good = find(tmp_path)
    done = threading.Event()

    def kill() -> None:
        while not done.wait(0.5):
            for child in of_this_process():
                os.kill(child, number)

    killer = threading.Thread(target=kill)
    killer.start()
    result = seen(crash)
    done.set()
    killer.join()
    assert isinstance(result, Unreadable)
    assert (result.reason, result.may_pass) == (reason, may_pass)
    assert isinstance(seen(good), View)


def test_decoders_run_under_a_lower_limit_of_the_users_own(tmp_path: Path) -> None:
    (tmp_path / "good.tif").write_bytes(TIFF)
    embed = f"{sys.executable} {ROOT / 'cli.py'} embed {tmp_path} --weights bundled"
    done = subprocess.run(["bash", "-c", f"ulimit -d 3000000; {embed}"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "1 photos found: 1 embedded"), done.stderr


def test_a_photo_that_takes_for_ever_is_given_up(
    fresh: list[own_process.Child], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(own_process, "MAX_SECONDS", 1)
    (tmp_path / "slow.png").write_bytes(corpus.slow(12_000))
    (tmp_path / "good.tif").write_bytes(TIFF)
    good, slow = find(tmp_path)
    started = time.monotonic()
    assert seen(slow) == Unreadable(slow, "takes longer than 1 s to decode")
    assert time.monotonic() - started < 4
    assert isinstance(seen(good), View)


def test_a_photo_that_needs_too_much_memory_is_given_up(fresh: list[own_process.Child]) -> None:
    decode_small(TIFF)
    (child,) = fresh
    assert resource.prlimit(child.pid, resource.RLIMIT_DATA) == (own_process.MAX_MEMORY, own_process.MAX_MEMORY)
    resource.prlimit(child.pid, resource.RLIMIT_DATA, (200 << 20, 200 << 20))
    with pytest.raises(Undecodable, match="not enough memory to decode it"):
        decode_small(corpus.slow(12_000))
    decode_small(TIFF)
    assert fresh == [child]


@pytest.mark.parametrize("busy", [False, True])
def test_decoders_end_with_their_run_however_it_ends(busy: bool, tmp_path: Path) -> None:
    (tmp_path / "slow.png").write_bytes(corpus.slow(9_000))
    (tmp_path / "good.tif").write_bytes(TIFF)
    script = (
        "from petrieve.extractor.pixels.own_process import decode_in_own_process;"
        "decode_in_own_process(open('good.tif', 'rb').read()); print(flush=True);"
        + ("decode_in_own_process(open('slow.png', 'rb').read())" if busy else "input()")
    )
    started = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert started.stdout is not None
    started.stdout.readline()
    (child,) = of_this_process(started.pid)
    time.sleep(0.3)
    started.send_signal(signal.SIGKILL)
    started.communicate()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{child}/cmdline").exists() and Path(f"/proc/{child}/cmdline").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_ctrl_c_is_not_for_the_decoders(tmp_path: Path) -> None:
    """A run that is stopped finishes the photos that it is decoding."""
    (tmp_path / "slow.png").write_bytes(corpus.slow(6000))
    (tmp_path / "good.tif").write_bytes(TIFF)
    script = (
        "import signal; from petrieve.extractor.pixels import own_process;"
        "signal.signal(signal.SIGINT, lambda *_: print('interrupted', flush=True));"
        "own_process.decode_in_own_process(open('good.tif', 'rb').read()); before = own_process._idle[0];"
        "print(flush=True);"
        "print(own_process.decode_in_own_process(open('slow.png', 'rb').read())[:2], own_process._idle == [before])"
    )
    started = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    )
    assert started.stdout is not None
    started.stdout.readline()
    time.sleep(0.4)
    os.killpg(started.pid, signal.SIGINT)
    assert started.communicate() == ("interrupted\n(6000, 6000) True\n", "")


def test_a_new_plain_photo_starts_no_decoder(store: Path, drawn: Path, tmp_path: Path) -> None:
    for ending in ("jpg", "png", "webp"):
        with Image.open(sorted((drawn / "cat").glob("*.jpg"))[0]) as opened:
            data = corpus.encoded(opened.convert("RGB").resize((300, 290)), **corpus.FORMATS[ending])
        if ending == "jpg":  # as Photoshop writes it
            data = data[:2] + b"\xff\xe1\0\x20http://ns.adobe.com/xap/1.0/\0\0" + data[2:]
        (tmp_path / f"new.{ending}").write_bytes(data)
    script = (
        "import sys; from petrieve import cli; from petrieve.extractor.pixels import own_process\n"
        "for ending in ('jpg', 'png', 'webp'):\n"
        f"    sys.argv = ['cli.py', 'similar', f'new.{{ending}}', '--store', {str(store)!r}]\n"
        "    cli.app(standalone_mode=False)\n"
        "assert own_process._idle == []"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.count("similarity")) == (0, 3), done.stderr


def test_a_photo_from_a_phone_has_its_tile(tmp_path: Path) -> None:
    data = corpus.encoded(Image.new("RGB", (300, 260), "teal"), format="HEIF")
    image = upright_image(data)
    assert (image.mode, image.size) == ("RGB", (300, 260))
    assert np.abs(np.asarray(image).astype(int).mean((0, 1)) - (0, 128, 128)).max() < 4


def test_a_photo_that_changes_while_it_is_read_is_never_half_old_half_new(tmp_path: Path) -> None:
    """Rewritten in place, cut, grown, deleted and made anew, as fast as it goes."""
    contents = [corpus.encoded(Image.new("RGB", (900, 800), colour), format="BMP") for colour in ("red", "blue")]
    file = tmp_path / "restless.bmp"
    file.write_bytes(contents[0])
    (photo,) = find(file)
    done = threading.Event()

    def rewrite() -> None:
        while not done.is_set():
            for content in contents * 4:
                with file.open("r+b" if file.exists() else "wb", buffering=0) as there:
                    for start in range(0, len(content), 1 << 14):
                        there.write(content[start : start + (1 << 14)])
            file.write_bytes(contents[0] + b"tail")
            file.unlink()
            done.wait(0.005)
            file.write_bytes(contents[1])
            done.wait(0.1)

    writer = threading.Thread(target=rewrite)
    writer.start()
    results, until = [], time.monotonic() + 20
    while sum(isinstance(one, View) for one in results) < 10 and time.monotonic() < until:
        results.append(seen(photo))
    done.set()
    writer.join()
    for result in results:
        if isinstance(result, Unreadable):
            assert result.may_pass or result.reason in ("an empty file", "damaged BMP: cut short"), result.reason
        else:
            assert isinstance(result, View)
            colours = {tuple(colour) for colour in result.pixels[0].flatten(1).T.unique(dim=0).tolist()}
            assert colours in ({(255, 0, 0)}, {(0, 0, 255)})
    assert {type(result) for result in results} == {Unreadable, View}


def test_what_is_recorded_of_a_photo_is_what_was_read(run: Run, tmp_path: Path) -> None:
    """A photo changes after it was found and goes back to what it was, times and all: the next run sees it."""
    file = tmp_path / "photo.png"
    Image.new("RGB", (300, 260), "red").save(file)
    before, times = file.read_bytes(), (1_000_000_000, 1_000_000_000)
    os.utime(file, times)
    (photo,) = find(file)
    Image.new("RGB", (300, 260), "blue").save(file)
    read = read_photo(photo)
    assert isinstance(read, tuple)
    assert read[0].modified == file.stat().st_mtime_ns // 1000 != photo.modified
    run("embed", file, "--store", tmp_path / "s", "--weights", "bundled")
    file.write_bytes(before)
    os.utime(file, times)
    assert run("embed", file, "--store", tmp_path / "s", "--json").json["embedded"] == 1


def test_how_large_a_photo_may_be_can_be_raised(
    run: Run, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PETRIEVE_MAX_MEGAPIXELS", "1")
    Image.new("RGB", (2000, 1500), "brown").save(few / "large.gif")
    with (few / "long.jpg").open("wb") as file:
        file.truncate(6 << 20)
    store = tmp_path / "s"
    start = subprocess.run  # a process of its own: decoders of other tests are under way here
    words = [sys.executable, str(ROOT / "cli.py"), "embed", few, "--store", store, "--weights", "bundled"]
    assert start(words, capture_output=True, check=False).returncode == 0
    listed = run("info", "--unreadable", "--store", store).out
    assert "over 1 megapixels" in listed
    assert "over 5 MB" in listed
    monkeypatch.setenv("PETRIEVE_MAX_MEGAPIXELS", "4")
    again = start([*words, "--retry", "--json"], capture_output=True, check=False)
    assert json.loads(again.stdout)["unreadable"] == 1, "large.gif is a photo now"
    monkeypatch.setenv("PETRIEVE_MAX_MEGAPIXELS", "many")
    assert "PETRIEVE_MAX_MEGAPIXELS is 'many'" in run("info", "--store", store).err
