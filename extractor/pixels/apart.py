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
from pathlib import Path

from extractor.pixels.pillow import MAX_PIXELS, upright
from store.errors import NO_MEMORY, Undecodable

# The slowest photo within MAX_PIXELS that we could make, an interlaced PNG with alpha, takes 9 s on one core.
SECONDS = 60
# Of 200 megapixels, Pillow holds two copies of 800 MB each, and their bytes.
MEMORY = 4 << 30
REQUEST = struct.Struct(">Q")  # length of the file
ANSWER = struct.Struct(">II")  # width and height, pixels follow; or 0 and the length of the reason that follows
LONGEST = 1000  # bytes of a reason
# What a photo does to its decoder. SIGKILL comes from outside, from a system without memory, say.
CRASHES = {-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS, -signal.SIGILL, -signal.SIGFPE}

Child = subprocess.Popen[bytes]
Pixels = tuple[int, int, bytearray]
_idle: list[Child] = []
os.register_at_fork(after_in_child=_idle.clear)  # two processes must not speak through the same pipes


def decode_apart(data: bytes) -> Pixels:
    """Width, height and RGB pixels, row by row, of the photo in `data`, as `upright` decodes it.

    Raises:
        Undecodable: as `upright`; or the photo crashes its decoder, or takes longer than SECONDS.
        OSError: no process can be started, or the system kills it.
    """
    # A process may have died of something else: a photo is blamed when a second one, started for it, dies too.
    for take in (_take, _start):
        child = take()
        try:
            answer = _ask(child, data)
        except (EOFError, BrokenPipeError) as error:
            child.kill()  # or closed its pipes, and lives
            child.communicate()  # closes the pipes and waits
            if child.returncode == -signal.SIGALRM:
                raise Undecodable(f"takes longer than {SECONDS} s to decode") from error
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
        [sys.executable, "-m", "extractor.pixels.apart", str(SECONDS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # libtiff and others print there
        cwd=Path(__file__).parents[1],  # `-m` imports from the working folder, which must not be the photos'
        env={**os.environ, "MALLOC_ARENA_MAX": "2"},
        process_group=0,  # Ctrl-C is for the run, which finishes what it has begun
    )


def _ask(child: Child, data: bytes) -> Pixels | str:
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(REQUEST.pack(len(data)))
    child.stdin.write(data)
    child.stdin.flush()
    width, height = ANSWER.unpack(_read(child, ANSWER.size))
    if not width:
        return _read(child, min(height, LONGEST)).decode()
    if width * height > MAX_PIXELS:
        raise EOFError("no answer of ours")
    return width, height, _read(child, 3 * width * height)


def _read(child: Child, size: int) -> bytearray:
    assert child.stdout is not None
    data = bytearray(size)
    if child.stdout.readinto(data) < size:  # type: ignore[attr-defined]
        raise EOFError("the process died")
    return data


def _serve(seconds: int) -> None:
    """Decode what comes in until nothing comes."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Not RLIMIT_AS: that counts what threads only reserve, which grows with the number of cores.
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    least = MEMORY if most == resource.RLIM_INFINITY else min(MEMORY, most)
    resource.setrlimit(resource.RLIMIT_DATA, (least, least))
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not come between
    for head in iter(partial(source.read, REQUEST.size), b""):
        data = source.read(*REQUEST.unpack(head))
        signal.alarm(seconds)  # unhandled, it ends the process, also inside a decoder
        answer = _answer(data)
        signal.alarm(0)
        for part in answer:
            sink.write(part)
        sink.flush()


def _answer(data: bytes) -> tuple[bytes, bytes]:
    try:
        image = upright(data)
        return ANSWER.pack(*image.size), image.tobytes()
    except (Undecodable, MemoryError) as error:
        reason = (str(error) if isinstance(error, Undecodable) else NO_MEMORY).encode()[:LONGEST]
        return ANSWER.pack(0, len(reason)), reason


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
