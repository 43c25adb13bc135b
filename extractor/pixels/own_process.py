"""Odd photos are decoded in processes of their own: a decoder that crashes or hangs costs one photo, not the run.

The decoders of JPEG, PNG and WebP are used, and attacked, by the whole world every day. Those of TIFF, HEIC and the
rest are not: they run here, in small processes without torch. Bytes go in and pixels come out through pipes, each
after its length; nothing else is understood on either side.
"""

import errno
import os
import resource
import signal
import struct
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

from petrieve.extractor.pixels import jpeg
from petrieve.extractor.pixels.orientation import orientation, turned
from petrieve.extractor.pixels.pillow import ALL, JPEG, Damaged, is_lost, opened, rgb
from petrieve.extractor.sources.bounds import MEGAPIXELS, max_megapixels
from petrieve.store.errors import NO_MEMORY, Undecodable

if TYPE_CHECKING:
    import numpy as np

# The slowest photo of 200 megapixels that we could make, an interlaced PNG with alpha, takes 9 s on one core.
MAX_SECONDS = 60
# Of 200 megapixels, Pillow holds two copies of 800 MB each, and their bytes.
MAX_MEMORY = 4 << 30
REQUEST = struct.Struct(">?Q")  # whether damaged photos are wanted too; length of the file
# Width and height, 0 if there are no pixels; length of the text (what is lost, or the reason), which comes first.
ANSWER = struct.Struct(">III")
MAX_MESSAGE_BYTES = 1000  # bytes of this text
# What a photo does to its decoder. SIGKILL comes from outside, from a system without memory, say.
CRASHES = {-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS, -signal.SIGILL, -signal.SIGFPE}

Child = subprocess.Popen[bytes]
Pixels = tuple[int, int, bytearray, str | None]
_idle: list[Child] = []
os.register_at_fork(after_in_child=_idle.clear)  # two processes must not speak through the same pipes


def decode_in_own_process(data: bytes, *, keep_damaged: bool = False) -> Pixels:
    """Width, height and RGB pixels, row by row, of the photo in `data`, upright; and what of them is lost.

    Raises:
        Undecodable: no photo in one of ALL formats, damaged unless such are kept, over `max_megapixels`, or of an
            unknown range; or the photo crashes its decoder, or takes longer than MAX_SECONDS.
        OSError: no process can be started, or the system kills it.
    """
    # A process may have died of something else: a photo is blamed when a second one, started for it, dies too.
    for take in (_take, _start):
        child = take()
        try:
            answer = _ask(child, data, keep_damaged)
        except (EOFError, BrokenPipeError) as error:
            child.kill()  # it may have closed its pipes, and still run
            child.communicate()  # closes the pipes and waits
            if child.returncode == -signal.SIGALRM:
                raise Undecodable(f"takes longer than {_scaled(MAX_SECONDS)} s to decode") from error
            continue
        _idle.append(child)
        if isinstance(answer, str):
            raise Undecodable(answer)
        return answer
    if child.returncode in CRASHES:
        raise Undecodable("crashes its decoder")
    raise OSError(errno.ENOMEM, "its decoder could not run, or was killed")


def _take() -> Child:
    try:
        return _idle.pop()
    except IndexError:
        return _start()


def _start() -> Child:
    """A decoding process. It ends when its input does, so when this process ends, however it ends."""
    return subprocess.Popen(
        # Nothing is imported from the folder that the photos may be in.
        [sys.executable, "-P", "-m", "petrieve.extractor.pixels.own_process", str(_scaled(MAX_SECONDS))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # libtiff and others print there
        env={**os.environ, "MALLOC_ARENA_MAX": "2"},
        process_group=0,  # Ctrl-C is for the run, which finishes what it has begun
    )


def _ask(child: Child, data: bytes, keep_damaged: bool) -> Pixels | str:
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(REQUEST.pack(keep_damaged, len(data)))
    child.stdin.write(data)
    child.stdin.flush()
    width, height, length = ANSWER.unpack(_read(child, ANSWER.size))
    words = _read(child, min(length, MAX_MESSAGE_BYTES)).decode()
    if not width:
        return words
    if width * height > max_megapixels() * 1_000_000:
        raise EOFError("no answer of ours")
    return width, height, _read(child, 3 * width * height), words or None


def _scaled(bound: int) -> int:
    """A bound for photos of MEGAPIXELS, scaled to the largest that are allowed."""
    return bound * max(max_megapixels(), MEGAPIXELS) // MEGAPIXELS


def _read(child: Child, size: int) -> bytearray:
    assert child.stdout is not None
    data = bytearray(size)
    if child.stdout.readinto(data) < size:  # type: ignore[attr-defined]
        raise EOFError("the process died")
    return data


def _serve(seconds: int) -> None:
    """Decode requests until the input ends."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Not RLIMIT_AS: that counts what threads only reserve, which grows with the number of cores.
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = _scaled(MAX_MEMORY)
    least = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    resource.setrlimit(resource.RLIMIT_DATA, (least, least))
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not mix with answers
    for head in iter(partial(source.read, REQUEST.size), b""):
        keep_damaged, length = REQUEST.unpack(head)
        data = source.read(length)
        signal.alarm(seconds)  # unhandled, it ends the process, also inside a decoder
        answer = _answer(data, keep_damaged)
        signal.alarm(0)
        for part in answer:
            sink.write(part)
        sink.flush()


def _answer(data: bytes, keep_damaged: bool) -> tuple[bytes, ...]:
    try:
        pixels, lost = _decoded(data, keep_damaged)
        height, width, _ = pixels.shape
        words = (lost or "").encode()
        return ANSWER.pack(width, height, len(words)), words, pixels.tobytes()
    except (Undecodable, MemoryError) as error:
        reason = (str(error) if isinstance(error, Undecodable) else NO_MEMORY).encode()[:MAX_MESSAGE_BYTES]
        return ANSWER.pack(0, 0, len(reason)), reason


def _decoded(data: bytes, keep_damaged: bool) -> "tuple[np.ndarray, str | None]":
    """Upright pixels (H, W, 3), and what of them is lost."""
    from PIL import ImageFile

    try:
        return _upright(data), None
    except Damaged as error:
        if not keep_damaged:
            raise
        ImageFile.LOAD_TRUNCATED_IMAGES = True  # as far as they go
        try:
            pixels = _upright(data)
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = False
        if is_lost(pixels):
            raise
        return pixels, str(error)


def _upright(data: bytes) -> "np.ndarray":
    import numpy as np
    from PIL import ImageFile

    with opened(data, ALL) as image:
        pixels = turned(np.asarray(rgb(image)), orientation(image))
        if image.format in JPEG and not ImageFile.LOAD_TRUNCATED_IMAGES and (lost := jpeg.lost(data)):
            raise Damaged(f"damaged JPEG: {lost}")  # Pillow says nothing of it
        return pixels


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
