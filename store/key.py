"""A store's files in a bucket: named, read and written as `pathlib` and `write_file` have it for those on a disk."""

import errno
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from petrieve.store.asking import PATIENCE, Answer, asked, refused
from petrieve.store.buckets import connected, is_address, parted
from petrieve.store.errors import PetrieveError

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore import UpdateVersion as Tag  # what a server calls one state of a file
    from obstore.store import ObjectStore

# A larger file goes there in parts, and of two that are written at once the later one stays. Of a store's files only
# an index is so large, and any index is right.
WHOLE_BYTES = 64 << 20
# How long Lance tries a request again, as we do; of its own accord it gives up after three times, within seconds.
TRIED = {"client_max_retries": "10", "client_retry_timeout": str(int(PATIENCE))}
# Lance takes an address for a URL: of `a%41`, `a#b`, `a//b` and `a/../b` it would make other keys, or none.
UNFIT = re.compile(r"[%?#\x00-\x1f\x7f\ud800-\udfff]|//|(?:^|/)\.\.?(?:/|$)")


@dataclass(eq=False)
class Bucket:
    """The bucket that a store lies in, and what this process knows of it."""

    objects: "ObjectStore"
    address: str  # `s3://bucket`
    tags: "dict[str, Tag | None]" = field(default_factory=dict)  # of files as they were last read; None: not there
    renew: Callable[[], None] | None = None  # how a run that writes makes sure that it still may; None: it only reads
    near: bool = True  # whether copies on this machine may be read in its place

    @property
    def copies(self) -> bool:
        """Whether tables are read from copies on this machine."""
        return self.near and self.renew is None

    def check_writable(self) -> None:
        """Make sure that this run, and no other, may write to a table now.

        Raises:
            PetrieveError: another run may.
        """
        assert self.renew, "a store in a bucket is held before it is written to"
        self.renew()

    @property
    def options(self) -> dict[str, str]:
        """How Lance reaches it: its own way through the environment, but for what was found out here."""
        config: dict[str, Any] = dict(getattr(self.objects, "config", {})) if self.address.startswith("s3") else {}
        names = ("endpoint", "region", "skip_signature", "virtual_hosted_style_request")
        said = {"True": "true", "False": "false"}  # as Lance has it
        found = {name: str(config[name]) for name in names if config.get(name) is not None}
        plain = {"allow_http": "true"} if found.get("endpoint", "").startswith("http:") else {}
        return {f"aws_{name}": said.get(value, value) for name, value in found.items()} | plain | TRIED


@dataclass(frozen=True)
class Key:
    """A file of a store in a bucket, or what would be a folder on a disk."""

    bucket: Bucket
    path: str

    def __str__(self) -> str:
        return f"{self.bucket.address}/{self.path}"

    def __truediv__(self, name: str) -> "Key":
        return Key(self.bucket, f"{self.path}/{name}" if self.path else name)

    @property
    def name(self) -> str:
        """The last part."""
        return self.path.rpartition("/")[2]

    @property
    def parent(self) -> "Key":
        """Where it lies."""
        return Key(self.bucket, self.path.rpartition("/")[0])

    def resolve(self) -> "Key":
        """Itself: there are no links."""
        return self

    def mkdir(self, *, parents: bool, exist_ok: bool) -> None:
        """Nothing: there are no folders."""

    def tag(self) -> "Tag | None":
        """What the server calls the file's state; None where it is not there."""
        import obstore

        try:
            self._saw(ask(self, lambda: obstore.head(self.bucket.objects, self.path)))
        except FileNotFoundError:
            self.bucket.tags[self.path] = None
        return self.bucket.tags[self.path]

    def exists(self) -> bool:
        """Whether it is there."""
        return self.tag() is not None

    def read_bytes(self) -> bytes:
        """What it holds.

        Raises:
            FileNotFoundError: it is not there.
        """
        return self.read()[0]

    def read(self) -> "tuple[bytes, ObjectMeta]":
        """What it holds, and what the server says of it: its `last_modified`, say.

        Raises:
            FileNotFoundError: it is not there.
        """
        import obstore

        def whole() -> "tuple[bytes, ObjectMeta]":
            found = obstore.get(self.bucket.objects, self.path)
            return bytes(found.bytes()), found.meta

        try:
            data, found = ask(self, whole)
        except FileNotFoundError:
            self.bucket.tags[self.path] = None
            raise
        self._saw(found)
        return data, found

    def put(self, data: bytes, mode: "Literal['create', 'overwrite'] | Tag") -> "Tag":
        """Write it on a condition, and say what the server calls its state then.

        Raises:
            AlreadyExistsError, PreconditionError: of obstore; the condition does not hold.
        """
        import obstore

        self._saw(ask(self, lambda: obstore.put(self.bucket.objects, self.path, data, mode=mode)))
        tag = self.bucket.tags[self.path]
        assert tag
        return tag

    def write(self, data: bytes) -> None:
        """Write it, unless it is no longer as this process read it, or came to be where it was not.

        Raises:
            PetrieveError: another run has written it meanwhile, or the server cannot be reached.
        """
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        if len(data) > WHOLE_BYTES:
            self.put(data, "overwrite")
            return
        tag = self.bucket.tags[self.path] if self.path in self.bucket.tags else self.tag()
        try:
            self.put(data, tag or "create")
        except (AlreadyExistsError, PreconditionError, FileNotFoundError) as error:
            # Where the answer to a put was lost, it was tried again, and found what it had written itself.
            if not self.exists() or self.read_bytes() != data:
                raise PetrieveError(f"another run has written {self} meanwhile", "run the command again") from error

    def unlink(self, *, missing_ok: bool = True) -> None:  # noqa: ARG002
        """Remove it; where it is not there nothing happens."""
        self.remove([self])

    def iterdir(self) -> "Iterator[Key]":
        """What lies below it."""
        return (key for key, _ in self.files())

    def files(self) -> "Iterator[tuple[Key, ObjectMeta]]":
        """What lies below it, in the order of names, and what the server says of each; pages come as needed."""
        import obstore

        pages = obstore.list(self.bucket.objects, f"{self.path}/")
        while page := ask(self, lambda: next(pages, None)):
            for one in page:
                key = Key(self.bucket, one["path"])
                key._saw(one)
                yield key, one

    def remove_all(self) -> None:
        """Remove all that lies below it."""
        self.remove([key for key, _ in self.files()])

    def remove(self, keys: "Sequence[Key]") -> None:
        """Remove these files of its bucket; those that are not there are no trouble."""
        import obstore

        for key in keys:
            self.bucket.tags.pop(key.path, None)
        if keys:
            with suppress(FileNotFoundError):  # as Azure has it, and S3 has not
                ask(self, lambda: obstore.delete(self.bucket.objects, [key.path for key in keys]))

    def _saw(self, found: Any) -> None:
        self.bucket.tags[self.path] = tag_of(found)


def tag_of(found: Any) -> "Tag":
    """What a server calls the state of a file that it has told of."""
    named: Any = {name: found[name] for name in ("e_tag", "version") if found[name]}
    return named  # type: ignore[no-any-return]


Where = Path | Key  # where a store or a file of it lies


def where(place: str | os.PathLike[str] | Key, *, near: bool = True) -> Where:
    """Where a store lies, by what a person calls it: a path, or an address. No file there is asked for.

    Without `near` nothing in a bucket is read from a copy on this machine.

    Raises:
        PetrieveError: it is not the address of a bucket, or no store can be there; or an extra is not installed.
    """
    if isinstance(place, Key):
        return place
    if not is_address(place):
        return Path(place)
    bucket, path = parted(str(place))
    path = path.rstrip("/")
    if not path or UNFIT.search(path):
        what = (
            "it holds %, ?, #, //, a part . or .., or a character that no one sees"
            if path
            else "it names a bucket, and nothing in it"
        )
        raise PetrieveError(f"no store can lie at {place}: {what}", "name it as in `s3://BUCKET/pets.petrieve`")
    return Key(Bucket(connected(bucket)[0], bucket.replace("s3a:", "s3:", 1), near=near), path)


def ask(key: Key, request: Callable[[], Answer]) -> Answer:
    """What a bucket answers about one of its files.

    Raises:
        FileNotFoundError: it is not there.
        PetrieveError: the bucket is not there, cannot be reached, or may not be.
    """
    try:
        return asked(str(key), request)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and error.strerror == os.strerror(errno.ENOENT):
            raise
        raise refused(str(key), error) from None
