"""An object of a bucket as a file: read at places, a block at a time, ahead of who reads from end to end."""

import errno
import io
import os
from collections import OrderedDict
from functools import partial

from petrieve.extractor.sources.buckets.fetching import Fetch, fetching
from petrieve.extractor.sources.buckets.objects import bytes_of
from petrieve.extractor.sources.buckets.odd_keys import CHANGED

# Over 100 MB/s a block takes half of the 20 ms that its request waits: a read at one place costs little more than the
# wait. With AHEAD blocks under way, such a link is full.
BLOCK = 1 << 20
AHEAD = 8
KEPT = 24
# Blocks of the object that was closed last: an archive is opened again for each of its parts, and the next part begins
# where the last was read ahead to.
_left: dict[tuple[str, int, str | None], "OrderedDict[int, Fetch[bytes]]"] = {}


class Remote(io.RawIOBase):
    """An object while its ETag is `version`; as any file, it is read by one thread at a time.

    Reading raises OSError if it is another by now or cannot be reached, and PetrieveError if the credentials have
    ended.
    """

    def __init__(self, address: str, size: int, version: str | None) -> None:
        self.address, self.size, self.version = address, size, version
        self.place, self.last, self.ahead = 0, -1, 0
        left = _left.pop((address, size, version), OrderedDict())
        self.blocks = OrderedDict((number, block) for number, block in left.items() if not block.failed())
        self.changed = False  # so that nothing more of it can be had

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """The place at which it is read next."""
        return self.place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to another place."""
        place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self.place, os.SEEK_END: self.size}[whence]
        if place < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self.place = place
        return place

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        """Fill a buffer, up to the object's end; how many bytes were read."""
        view = memoryview(buffer).cast("B")
        end = min(self.place + len(view), self.size)
        done = 0
        while self.place < end:
            number, start = divmod(self.place, BLOCK)
            data = memoryview(self._block(number, (end - 1) // BLOCK))[start : start + end - self.place]
            view[done : done + len(data)] = data
            done += len(data)
            self.place += len(data)
        return done

    def close(self) -> None:
        """Leave the blocks and requests to whoever opens the object next."""
        if not self.closed and self.version:
            _left.clear()
            _left[self.address, self.size, self.version] = self.blocks
        super().close()

    def _block(self, number: int, upto: int) -> bytes:
        """A block, with the next ones asked for ahead: up to `upto`, and more the longer reading is sequential."""
        if self.changed:
            raise OSError(errno.EBUSY, CHANGED)
        if number != self.last:
            self.ahead = min(2 * self.ahead + 1, AHEAD) if number == self.last + 1 and number else 0
            self.last = number
        ahead = max(number + self.ahead, min(upto, number + AHEAD))
        for near in range(number, min(ahead, (self.size - 1) // BLOCK) + 1):
            if near not in self.blocks:
                within = near * BLOCK, min((near + 1) * BLOCK, self.size)
                ask = partial(_range, self.address, within, self.version)
                self.blocks[near] = fetching().ahead(ask, within[1] - within[0])
            self.blocks.move_to_end(near)
        wanted = self.blocks[number]
        while len(self.blocks) > KEPT:
            self.blocks.popitem(last=False)
        try:
            return wanted.result()
        except OSError as error:
            del self.blocks[number]  # it is asked for anew
            self.changed = error.strerror == CHANGED
            raise


def _range(address: str, within: tuple[int, int], version: str | None) -> bytes:
    return bytes_of(address, within=within, version=version)[1]
