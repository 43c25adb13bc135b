"""What keeps a GPU busy, measured before it is built: ways to decode, ways to run the trunk, and `embed` as a whole.

    python benchmarks/gpu.py FOLDER [--device cuda] [--photos 100000]

Decoding: in threads, as `embed` does; in processes, which do not share Python's lock, and whose views come back through
pipes or lie in memory that all share; with nvJPEG and a resize on the GPU. The trunk: as `embed` runs it, from host
memory and back; and on views that are there already: as it is, as a CUDA graph, compiled. Then `embed` over so many
links to the photos in FOLDER. Every way's embeddings are held against the first one's. One JSON line; rates in photos
per second.
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import cycle, islice
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import numpy as np
import torch
from machine import machine
from torch.nn.functional import cosine_similarity

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / part) for part in (".", "tests")]

from planting import seen

from petrieve.extractor.embed import embed
from petrieve.extractor.engines.local import View, pool
from petrieve.extractor.pixels.view import CROP, canonical_view
from petrieve.extractor.sources.folder import find
from petrieve.extractor.trunks.trunk import Trunk, load_trunk
from petrieve.store.cores import CORES
from petrieve.store.photo import Photo

NEAR = 0.995  # cosine, DESIGN.md's bound in half precision
TIMES = 5
PIECE = 64  # photos that a process decodes at a time
GFLOP = 5.7  # of one photo

Network = Callable[[torch.Tensor], torch.Tensor]


def rate(work: Callable[[], object], photos: int) -> float:
    """The best of so many, after one to warm up."""
    seconds = []
    for _ in range(TIMES + 1):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return round(photos / min(seconds[1:]), 1)


def views_of(photos: list[Photo]) -> torch.Tensor:
    """Views (N, 3, 224, 224)."""
    return torch.cat([one.pixels for one in map(seen, photos) if isinstance(one, View)])


def in_threads(photos: list[Photo]) -> list[torch.Tensor]:
    with pool(CORES, "decode") as decoders:
        return [one.pixels for one in decoders.map(seen, photos) if isinstance(one, View)]


def one_thread() -> None:
    torch.set_num_threads(1)


def one_thread_with(name: str) -> None:
    """Open the shared memory of this name, for as long as the process lives."""
    global shared
    shared = SharedMemory(name)
    one_thread()


def fill(start: int, photos: list[Photo]) -> None:
    """Put the views of photos that can be read where those of the photos from `start` on belong."""
    views = views_in(shared)[start:]
    for place, one in enumerate(map(seen, photos)):
        if isinstance(one, View):
            views[place] = one.pixels[0]


def views_in(memory: SharedMemory) -> np.ndarray:
    """All views (N, 3, 224, 224) for which there is room, uint8; the system gives memory in whole pages."""
    view = np.dtype((np.uint8, (3, CROP, CROP)))
    return np.frombuffer(memory.buf, view, memory.size // view.itemsize)


def in_shared_memory(photos: list[Photo], pieces: list[list[Photo]]) -> float:
    starts, context = range(0, len(photos), PIECE), multiprocessing.get_context("spawn")
    memory = SharedMemory(create=True, size=len(photos) * 3 * CROP * CROP)
    try:
        with ProcessPoolExecutor(CORES, context, one_thread_with, (memory.name,)) as processes:
            found = rate(lambda: list(processes.map(fill, starts, pieces)), len(photos))
        one = seen(photos[-1])
        assert not isinstance(one, View) or (views_in(memory)[len(photos) - 1] == one.pixels[0].numpy()).all()
        return found
    finally:
        memory.unlink()


def nvjpeg(photos: list[Photo], device: torch.device) -> list[torch.Tensor]:
    """Decoded and resized on the GPU, which resizes floating-point pixels alone."""
    from torchcodec.decoders import decode_jpeg

    files = [Path(photo.path).read_bytes() for photo in photos]
    decoded = decode_jpeg(files, mode="RGB", device=device)
    return [canonical_view(pixels.float()).round_().clamp_(0, 255).byte() for pixels in decoded]


def graphed(network: Network, views: torch.Tensor) -> Network:
    """The network as one CUDA graph, for batches of this size."""
    still = views.clone()
    side = torch.cuda.Stream()
    with torch.inference_mode(), torch.cuda.stream(side):
        for _ in range(3):
            network(still)
    side.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.inference_mode(), torch.cuda.graph(graph):
        made = network(still)

    def replay(views: torch.Tensor) -> torch.Tensor:
        still.copy_(views)
        graph.replay()
        return made.clone()

    return replay


def decoding(photos: list[Photo], trunk: Trunk) -> dict[str, float]:
    found = {"threads": rate(lambda: in_threads(photos), len(photos))}
    pieces = [photos[start : start + PIECE] for start in range(0, len(photos), PIECE)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(CORES, context, one_thread) as processes:
        found["processes, views brought back"] = rate(lambda: list(processes.map(views_of, pieces)), len(photos))
    found["processes, views in shared memory"] = in_shared_memory(photos, pieces)
    if trunk.device.type == "cuda":
        jpegs = [photo for photo in photos if Path(photo.path).read_bytes()[:2] == b"\xff\xd8"][: trunk.batch]

        def on_the_gpu() -> torch.Tensor:
            views = torch.stack(nvjpeg(jpegs, trunk.device))
            torch.cuda.synchronize()
            return views

        found["nvJPEG and a resize on the GPU"] = rate(on_the_gpu, len(jpegs))
        found["its worst cosine"] = worst(trunk(on_the_gpu().cpu()), trunk(views_of(jpegs)))
    return found


def running(views: torch.Tensor, trunk: Trunk) -> dict[str, float]:
    batches = [views] * 4 * trunk.workers
    with pool(trunk.workers, "embed") as embedders:
        found = {"as in embed": rate(lambda: list(embedders.map(trunk, batches)), sum(map(len, batches)))}
    there, exact = views.to(trunk.device), trunk(views)
    ways: dict[str, Callable[[], Network]] = {"eager": lambda: trunk.network}
    ways["compiled"] = lambda: torch.compile(trunk.network.__call__)  # type: ignore[operator]
    if trunk.device.type == "cuda":
        ways["CUDA graph"] = lambda: graphed(trunk.network, there)
    for way, make in ways.items():
        started = time.perf_counter()
        network = make()
        with torch.inference_mode():
            near = worst(network(there), exact)
            found[f"{way}: seconds to begin"] = round(time.perf_counter() - started, 1)
            found[way] = rate(lambda network=network: network(there).cpu(), len(views))
        assert near >= NEAR, f"{way}: {near}"
    return found


def worst(found: torch.Tensor, exact: torch.Tensor) -> float:
    return round(float(cosine_similarity(found.cpu().double(), exact.double()).min()), 6)


def limits(device: torch.device, dtype: torch.dtype) -> dict[str, float]:
    """What the device multiplies, as photos per second; and GB that it copies per second, read and written."""
    side = 16384 if device.type == "cuda" else 4096
    square = torch.ones(side, side, dtype=dtype, device=device)
    return {
        "ceiling": rate(lambda: (square @ square)[0, 0].item(), 1) * 2 * side**3 / 1e9 / GFLOP,
        "copy, GB/s": rate(lambda: square.clone()[0, 0].item(), 1) * 2 * square.nbytes / 1e9,
    }


def sustained(photos: list[Photo], count: int, device: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "photos")
        folder.mkdir()
        for number, photo in enumerate(islice(cycle(photos), count)):
            (folder / f"{number}{Path(photo.path).suffix}").symlink_to(photo.path)
        summary, cache = embed(folder, store=Path(name, "store"), weights="bundled", device=device)
        assert len(cache) == summary.embedded == count
    return {"photos": count, "seconds": summary.seconds, "photos_per_second": summary.photos_per_second}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--photos", type=int, default=100_000)
    given = parser.parse_args()
    photos = list(find(given.folder))
    trunk = load_trunk("bundled", given.device)
    views = torch.stack(in_threads(list(islice(cycle(photos), trunk.batch))))
    figures = {
        "limits": limits(trunk.device, trunk.precision),
        "decoding": decoding(photos[:1024], trunk),
        "trunk": running(views, trunk),
        "embed": sustained(photos, given.photos, given.device),
    }
    name = torch.cuda.get_device_name(trunk.device) if trunk.device.type == "cuda" else "cpu"
    print(json.dumps({**machine(), "device": name, "precision": trunk.precision_name, **figures}))


if __name__ == "__main__":
    main()
