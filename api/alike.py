"""Which photos are alike."""

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from numbers import Integral, Real
from typing import TYPE_CHECKING

from petrieve.api.opened import Opened, compute_of
from petrieve.api.photos import Photo, Place, home, path, several
from petrieve.api.results import IndexCard, MapCard, Neighbours
from petrieve.gallery import progress, spreadsheet, words
from petrieve.gallery import sheet as sheets
from petrieve.index import build, question
from petrieve.store.errors import PetrieveError, warn

if TYPE_CHECKING:
    from petrieve.api.copies import Duplicates
    from petrieve.api.measured import Evaluation
    from petrieve.store.rows import Unreadable
    from petrieve.store.slices import Slice

READ = "there is no index yet, so each photo is read and compared; `petrieve build-index` makes it quick"


class Alike(Opened):
    """Finding photos by photos."""

    def similar(
        self,
        photos: "Photo | Iterable[Photo]",
        *,
        k: int = 10,
        where: str | None = None,
        group_by: str | None = None,
        min_similarity: float = -1.0,
        weights: str | None = None,
        device: str = "auto",
        precision: str = "auto",
        sheet: Place | None = None,
    ) -> Neighbours:
        """The `k` embedded photos that look most like a pet, best first: by one photo of it, or several.

        A photo is a file, bytes, or a picture that Pillow holds. `where` is a condition in SQL on label, split and your
        own columns. With `group_by`, a column, only the best photo of each of its values counts. The JPEG `sheet`
        shows them.

        Raises:
            PetrieveError: there is no store, or a photo, the condition, the weights or the device cannot be used.
        """
        from petrieve.api import finding
        from petrieve.extractor.picture import pictures
        from petrieve.extractor.query import query_one, same_photo

        terms = _terms(k, where, group_by, min_similarity)
        index = self.index()
        cache = index.cache  # what it has read of it is not read again
        asked = several(photos)
        if not asked:
            raise PetrieveError("there is no photo to look for", "name one, or several of one pet")
        compute = compute_of(weights, device, precision)
        trunk = partial(self._warm, cache, compute)
        queries = [query_one(one, cache, compute, name=str(n), trunk=trunk) for n, one in enumerate(asked)]
        pairs = list(zip(asked, queries, strict=True))
        same = {one for query in queries for one in same_photo(query, cache)}
        if index.held is None:
            warn(READ)
        named = tuple(str(one) if isinstance(one, str | os.PathLike) else query.photo.path for one, query in pairs)
        found = Neighbours(
            rows=(rows := finding.neighbours_of(index, queries, same, terms)),
            photos=named,
            left_out=tuple(sorted(same - {query.photo.path for query in queries})),
            grouped=group_by is not None,
            picture=partial(
                finding.shown,
                held={
                    name: query.photo.path if isinstance(one, str | os.PathLike) else one
                    for name, (one, query) in zip(named, pairs, strict=True)
                },
                picture=pictures(cache, [*(query.photo.path for query in queries), *(one.photo for one in rows)]),
            ),
        )
        if where and not rows and (none := finding.nothing_for(cache, where)):
            warn(none)
        if sheet:
            finding.draw(path(sheet), found)
        return found

    def watch(
        self,
        folder: Place,
        *,
        k: int = 10,
        where: str | None = None,
        group_by: str | None = None,
        min_similarity: float = -1.0,
        weights: str | None = None,
        device: str = "auto",
        precision: str = "auto",
    ) -> "Iterator[Neighbours | Unreadable]":
        """The neighbours of each photo that appears in a folder, from now on, without end; or why it cannot be read.

        What `embed` adds meanwhile is found too.

        Raises:
            PetrieveError: it is not a folder, or something that `similar` was given cannot be used.
        """
        import numpy as np

        from petrieve.api import finding
        from petrieve.extractor.picture import pictures
        from petrieve.extractor.query import same_photo
        from petrieve.extractor.watch import watch
        from petrieve.store.rows import Unreadable

        terms = _terms(k, where, group_by, min_similarity)
        index = self.index()
        # A slip in what is asked is told before the first photo comes.
        question.ask(index, [np.ones(index.cache.dimension, np.float32)], terms)
        appearing = watch(home(folder), index.cache, compute_of(weights, device, precision))

        def answers() -> "Iterator[Neighbours | Unreadable]":
            for one in appearing:
                if isinstance(one, Unreadable):
                    yield one
                    continue
                index = self.index()
                same = set(same_photo(one, index.cache))
                rows = finding.neighbours_of(index, [one], same, terms)
                shown = pictures(index.cache, [one.photo.path, *(match.photo for match in rows)])
                yield Neighbours(rows, (one.photo.path,), tuple(sorted(same)), group_by is not None, shown)

        return answers()

    def evaluate(self, column: str = "label") -> "Evaluation":
        """How many of a photo's neighbours are of its own kind, by a column, and what the index misses.

        Raises:
            PetrieveError: there is no such column, or too few photos have a value in it.
        """
        from petrieve.api.measured import Evaluation
        from petrieve.index.evaluate import evaluate

        return Evaluation(**vars(evaluate(self.index(), column=column)))

    def duplicates(
        self, *, device: str = "auto", precision: str = "auto", csv: Place | None = None, sheet: Place | None = None
    ) -> "Duplicates":
        """Near-copies: same bytes, same picture, same scene. It says which is the best, and deletes nothing.

        Each photo of each group is also written to `csv`, and the first groups drawn into the JPEG `sheet`.

        Raises:
            PetrieveError: there is no store, or a file cannot be written.
        """
        from petrieve.api.copies import Duplicates
        from petrieve.extractor.checks import copies
        from petrieve.extractor.checks.files import files
        from petrieve.extractor.picture import picture
        from petrieve.extractor.sources.reading import Reader
        from petrieve.index.duplicates.find import find_duplicates

        cache = self.cache()
        read = Reader(cache)
        made = copies.make_copies(cache, compute_of(None, device, precision), tell=progress.watched)
        shown = partial(picture, read=read)
        found = find_duplicates(
            cache,
            made,
            files=partial(files, read=read),
            glances=partial(copies.glances, read=read),
            larger=partial(copies.glances, size=copies.LARGER, read=read),
            sharpness=partial(copies.sharpness, read=read),
        )
        if csv:
            spreadsheet.duplicates(path(csv), found.groups)
        if sheet:
            groups = [[(one.photo, group.kind) for one in group.photos] for group in found.groups]
            sheets.group_sheet(path(sheet), groups, picture=shown)
        return Duplicates(**vars(found), picture=shown)

    def build_index(self, *, kind: str | None = None, recall: float | None = None, on: str = "local") -> IndexCard:
        """The index, built or brought up to date: of a `kind` that is a FAISS factory string, by default what fits.

        A search is to find the share `recall` of the ten nearest. `on` is `local`, or a Ray cluster.

        Raises:
            PetrieveError: there is no store, or no such kind of index, or the cluster cannot be joined.
        """
        from petrieve.extractor.engines.cluster import LOCAL, check_on, joined
        from petrieve.index.codes import encode, on_ray, update

        def on_cluster(job: encode.Job, some: "Sequence[Slice]") -> Iterator[encode.Encoded]:
            with joined(on):  # only where an index is made
                yield from on_ray.encoded(job, some)

        check_on(on)
        cache, encoded = self.cache(), encode.encoded if on == LOCAL else on_cluster
        update.update(cache, kind=kind, recall=recall, tell=words.note, encoded=encoded)
        card = build.describe(cache)
        return IndexCard(card.pop("kind"), card.pop("photos"), card.pop("fits"), card)

    def build_map(self) -> MapCard:
        """All embedded photos laid out in the plane, those that look alike beside each other, and kept in the store.

        Raises:
            PetrieveError: there is no store, or it holds no embeddings or cannot be written to.
        """
        from petrieve.index import plane

        made = plane.make(self.cache())
        return MapCard(made.method, len(made.contents), made.seconds)


def _terms(k: int, where: str | None, group_by: str | None, min_similarity: float) -> question.Terms:
    """What a person asks for.

    Raises:
        TypeError: a number is not one.
    """
    if not isinstance(k, Integral):
        raise TypeError(f"k is a whole number from 1, not {k!r}")
    if not isinstance(min_similarity, Real):
        raise TypeError(f"min_similarity is a number from -1 to 1, not {min_similarity!r}")
    return question.Terms(k, where, group_by, min_similarity)
