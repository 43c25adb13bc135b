"""A made-up bucket over a made-up link, for benchmarks/buckets.py: it lists from a generator and answers from memory.

    python benchmarks/bucket_server.py [--keys 1000000 | --folder PHOTOS] [--delay 0.02] [--megabytes 100]

The first line that it prints is its endpoint; there is one bucket, whatever its name.
"""

import argparse
import asyncio
import hashlib
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

PAGE = 1000
SIZE = 20_000  # bytes of each object that is made up
STAMP = "2026-01-01T00:00:00.000Z"
LISTED = (
    "<Contents><Key>{}</Key><LastModified>" + STAMP + "</LastModified><ETag>&quot;{}&quot;</ETag><Size>{}</Size>"
    "<StorageClass>STANDARD</StorageClass></Contents>"
)


class Made:
    """So many keys, each with the same bytes."""

    def __init__(self, keys: int) -> None:
        self.count, self.body = keys, bytes(SIZE)

    def entry(self, number: int) -> tuple[str, str, int]:
        return f"pets/{number:08d}.jpg", f"{number:032x}", SIZE

    def get(self, key: str) -> tuple[str, bytes] | None:
        name = key.removeprefix("pets/").removesuffix(".jpg")
        return (f"{int(name):032x}", self.body) if name.isdigit() else None


class Files:
    """The files of a folder, kept in memory."""

    def __init__(self, folder: Path) -> None:
        self.data = {f"pets/{file.relative_to(folder)}": file.read_bytes() for file in sorted(folder.rglob("*.*"))}
        self.keys = sorted(self.data, key=str.encode)
        self.count = len(self.keys)

    def entry(self, number: int) -> tuple[str, str, int]:
        key = self.keys[number]
        return key, self.get(key)[0], len(self.data[key])  # type: ignore[index]

    def get(self, key: str) -> tuple[str, bytes] | None:
        data = self.data.get(key)
        return None if data is None else (hashlib.md5(data).hexdigest(), data)


class Link(asyncio.Protocol):
    """A connection; all share one link's time, and each request waits for as long as the link is."""

    free_at = 0.0

    def __init__(self, objects: Made | Files, delay: float, bytes_per_second: float) -> None:
        self.objects, self.delay, self.rate = objects, delay, bytes_per_second
        self.loop = asyncio.get_running_loop()
        self.come = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.come += data
        while b"\r\n\r\n" in self.come:
            head, _, self.come = self.come.partition(b"\r\n\r\n")
            method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
            self.send(self.answer(method, path))

    def send(self, data: bytes) -> None:
        if not self.delay:
            self.transport.write(data)  # type: ignore[attr-defined]
            return
        begins = max(self.loop.time() + self.delay, Link.free_at)
        Link.free_at = begins + len(data) / self.rate
        self.loop.call_at(Link.free_at, self.transport.write, data)  # type: ignore[attr-defined]

    def answer(self, method: str, path: str) -> bytes:
        place = urlsplit(path)
        if "list-type" in place.query:
            return _told(200, self.page(parse_qs(place.query)))
        found = self.objects.get(unquote(place.path).split("/", 2)[-1])
        if found is None:
            return _told(404, b"<Error><Code>NoSuchKey</Code></Error>" if method == "GET" else b"")
        return _told(200, found[1], found[0], bare=method == "HEAD")

    def page(self, query: dict[str, list[str]]) -> bytes:
        start = int(query.get("continuation-token", ["0"])[0])
        prefix, after = query.get("prefix", [""])[0], query.get("start-after", [""])[0]
        if not "pets/".startswith(prefix) or (after and not start):
            start = self.objects.count  # nothing lies elsewhere, or behind the last key
        end = min(self.objects.count, start + PAGE)
        listed = "".join(LISTED.format(*self.objects.entry(number)) for number in range(start, end))
        more = end < self.objects.count
        token = f"<NextContinuationToken>{end}</NextContinuationToken>" if more else ""
        return (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<KeyCount>{end - start}</KeyCount><MaxKeys>{PAGE}</MaxKeys><IsTruncated>{str(more).lower()}</IsTruncated>"
            f"{listed}{token}</ListBucketResult>"
        ).encode()


def _told(status: int, data: bytes, tag: str = "", *, bare: bool = False) -> bytes:
    tags = f'etag: "{tag}"\r\nlast-modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n' if tag else ""
    return f"HTTP/1.1 {status} So\r\n{tags}content-length: {len(data)}\r\n\r\n".encode() + (b"" if bare else data)


async def serve(objects: Made | Files, delay: float, megabytes: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Link(objects, delay, megabytes * 1e6), "127.0.0.1", 0, backlog=512)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--megabytes", type=float, default=100.0)
    given = parser.parse_args()
    asyncio.run(serve(Files(given.folder) if given.folder else Made(given.keys), given.delay, given.megabytes))


if __name__ == "__main__":
    main()
