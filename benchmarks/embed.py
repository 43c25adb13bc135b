"""Photos per second of ours and of what people use instead, in one run, on the same photos, one after the other.

    python benchmarks/embed.py [--device cpu|cuda] [--photos 512] [--rounds 3] [--source PNG …]

Every way runs in a process of its own, which is timed from its imports on: building the network counts, importing
does not. All have the same weights and the same resize and crop. Timm and imagededup take part where they are
installed; HEIC the others read by pillow-heif, imagededup does not. The table goes to stderr, one JSON line to stdout.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from machine import machine
from PIL import Image
from pillow_heif import register_heif_opener

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from planting import seen, whole
from reference import reference_embeddings, reference_trunk

from petrieve.extractor.embed import embed
from petrieve.extractor.engines.local import View, pool
from petrieve.extractor.sources.folder import find
from petrieve.extractor.sources.sample import draw_sample
from petrieve.extractor.trunks.kinds import MEAN, STD
from petrieve.extractor.trunks.trunk import load_trunk
from petrieve.store.cores import CORES

REAL = ROOT.parent / "shared" / "photos" / "train"
# For every way: threads that wait by spinning would measure their neighbours on a shared machine.
QUIET = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
GFLOP = 5.7  # of one photo: DESIGN.md, Speed
LARGE = (4000, 3000)
SMALL, HEIC = "small JPEG", "12-megapixel HEIC"
# Slow sources make do with fewer photos.
FEWER = {SMALL: 1, "12-megapixel JPEG": 4, "12-megapixel MPO": 4, HEIC: 16, "PNG": 4}
SQUARE = {"cpu": 4096, "cuda": 16384}

Found = tuple[list[str], np.ndarray | None, int]  # names, embeddings (N, 1024), photos


def transforms() -> Callable[[Image.Image], torch.Tensor]:
    from torchvision import transforms as t

    steps = [t.Resize(255), t.CenterCrop(224), t.ToTensor(), t.Normalize(MEAN, STD)]
    return t.Compose([t.Lambda(to_rgb), *steps])


def to_rgb(image: Image.Image) -> Image.Image:
    return image.convert("RGB")


class Pooled(torch.nn.Module):
    """Torchvision's own DenseNet-121, cut off before its classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.features = reference_trunk()

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Embeddings (N, 1024)."""
        return self.features(pixels).relu().mean((2, 3))


def looped(model: torch.nn.Module, folder: Path, device: str, **settings: int) -> Found:
    from torchvision.datasets import ImageFolder

    register_heif_opener()
    photos = ImageFolder(folder, transforms(), is_valid_file=lambda _: True)
    model = model.eval().to(device)
    with torch.inference_mode():
        loader = torch.utils.data.DataLoader(photos, **settings)
        found = torch.cat([model(pixels.to(device)).cpu() for pixels, _ in loader])
    return [Path(name).name for name, _ in photos.imgs], found.numpy(), len(found)


def tutorial(folder: Path, device: str) -> Found:
    """The loop of every tutorial: ImageFolder, DataLoader, Pillow, float32."""
    return looped(Pooled(), folder, device, batch_size=64)


def timms(folder: Path, device: str) -> Found:
    """The network of timm, decoding in as many processes as there are cores."""
    import timm

    model = timm.create_model("densenet121", pretrained=False, num_classes=0)
    tensors = {f"features.{name}": tensor for name, tensor in reference_trunk().state_dict().items()}
    model.load_state_dict(tensors)
    return looped(model, folder, device, batch_size=32, num_workers=os.cpu_count() or 1)


def imagededups(folder: Path, _device: str) -> Found:
    """The CNN encoder of imagededup, which takes a network of one's own; it chooses the device itself."""
    from imagededup.methods import CNN
    from imagededup.utils import CustomModel

    encoder = CNN(verbose=False, model_config=CustomModel(name="densenet121", model=Pooled(), transform=transforms()))
    (only,) = folder.iterdir()
    found = encoder.encode_images(image_dir=only, num_enc_workers=os.cpu_count() or 1)
    return list(found), np.stack([vector.ravel() for vector in found.values()]), len(found)


def ours(folder: Path, device: str) -> Found:
    """From files to the committed cache."""
    with tempfile.TemporaryDirectory() as store:
        summary, cache = embed(folder, store=store, weights="bundled", device=device)
        # Reading it back is no part of the work, but takes milliseconds.
        rows = whole(cache)
        embeddings = np.stack([row.embedding for row in rows.values()])
    return [Path(path).name for path in rows], embeddings, summary.embedded


def decoding(folder: Path, _device: str) -> Found:
    """Reading, decoding and resizing alone: in the stream's threads."""
    with pool(CORES, "decode") as decoders:
        views = sum(isinstance(one, View) for one in decoders.map(seen, find(folder)))
    return [], None, views


OTHERS = TIMM, IMAGEDEDUP = "timm", "imagededup"  # packages of these names
DECODING = "ours, decoding alone"
WAYS = {
    "tutorial loop": tutorial,
    TIMM: timms,
    IMAGEDEDUP: imagededups,
    "ours, end to end": ours,
    DECODING: decoding,
}


def run(way: str, folder: Path, device: str, out: Path) -> dict[str, float]:
    started = time.perf_counter()
    names, embeddings, photos = WAYS[way](folder, device)
    seconds = time.perf_counter() - started
    if embeddings is not None:
        np.savez(out, names=np.array(names), embeddings=embeddings)
    own, children = (resource.getrusage(w).ru_maxrss for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {"photos_per_second": photos / seconds, "memory_gb": max(own, children) / 1e6}


def trunk_and_ceiling(folder: Path, device: str) -> dict[str, float]:
    """Photos per second of the trunk alone; and the matrix rate in GFLOP/s, in float32 and in bfloat16."""
    trunk = load_trunk("bundled", device)
    photos = [one.pixels for photo in find(folder) if isinstance(one := seen(photo), View)]
    batches = torch.cat((photos * trunk.batch)[: 4 * trunk.workers * trunk.batch]).split(trunk.batch)
    with pool(trunk.workers, "embed") as embedders:
        rates = {"trunk": rate(lambda: list(embedders.map(trunk, batches)), sum(map(len, batches)))}
    side = SQUARE[torch.device(device).type]
    for dtype in (torch.float32, torch.bfloat16):
        square = torch.ones(side, side, dtype=dtype, device=device)
        rates[str(dtype).removeprefix("torch.")] = rate(lambda s=square: (s @ s)[0, 0].item(), 2 * side**3 / 1e9)
    return {**rates, "precision": trunk.precision_name}  # type: ignore[dict-item]


def rate(work: Callable[[], object], amount: float) -> float:
    """The best of four, after one to warm up."""
    work()
    seconds = []
    for _ in range(4):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return amount / min(seconds)


def child(*words: object) -> dict[str, float]:
    command = [sys.executable, __file__, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env=QUIET, timeout=3600)
    assert done.returncode == 0, f"{command}: {done.stderr[-2000:]}"
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def make(source: str, originals: list[Path], folder: Path) -> Path:
    """The photos as `source` has them, in the one class folder that ImageFolder wants."""
    (folder / "all").mkdir(parents=True)
    for path in originals:
        ending = {"PNG": "png", HEIC: "heic"}.get(source, "jpg")
        target = folder / "all" / f"{path.stem}.{ending}"
        if source == SMALL:
            target.write_bytes(path.read_bytes())
            continue
        with Image.open(path) as image:
            photo = image.convert("RGB")
        if source == "PNG":
            photo.save(target)
            continue
        large = photo.resize(LARGE, Image.Resampling.BICUBIC)
        # Phones that write MPO add a depth map or a gain map of a quarter of the size.
        more = {"save_all": True, "append_images": [large.reduce(4)]} if source.endswith("MPO") else {}
        large.save(target, {"JPEG": "JPEG", "MPO": "MPO", "HEIC": "HEIF"}[source.split()[1]], quality=90, **more)
    return folder


def worst_cosine(found: Path, wanted: dict[str, torch.Tensor]) -> float:
    with np.load(found) as held:
        names, embeddings = held["names"].tolist(), torch.from_numpy(held["embeddings"]).double()
    assert set(names) == set(wanted), "every photo has its embedding"
    reference = torch.stack([wanted[name] for name in names]).double()
    return float(torch.nn.functional.cosine_similarity(embeddings, reference).min())


def takes_part(way: str, source: str) -> bool:
    return (way not in OTHERS or find_spec(way) is not None) and (source, way) != (HEIC, IMAGEDEDUP)


def compared(folder: Path, device: str, rounds: int, work: Path, ways: list[str]) -> dict[str, object]:
    paths = sorted((folder / "all").iterdir())
    parts = [paths[start : start + 16] for start in range(0, len(paths), 16)]
    embeddings = torch.cat([reference_embeddings(part) for part in parts])
    wanted = {path.name: one for path, one in zip(paths, embeddings, strict=True)}
    seen: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    machine_rates, cosines = [], {}
    for _ in range(rounds):
        for way in ways:
            seen[way].append(child("--way", way, "--folder", folder, "--device", device, "--out", work / "out.npz"))
            if way != DECODING:
                cosines[way] = worst_cosine(work / "out.npz", wanted)
        machine_rates.append(child("--way", "trunk", "--folder", folder, "--device", device))
    middle = {way: statistics.median(one["photos_per_second"] for one in runs) for way, runs in seen.items()}
    middle["ours, trunk alone"] = statistics.median(one["trunk"] for one in machine_rates)
    # The best of all rounds: other load on the machine can only lower it.
    ceilings = {p: max(one[p] for one in machine_rates) / GFLOP for p in ("float32", "bfloat16")}
    table = {
        way: {
            "photos_per_second": round(speed, 1),
            "times_the_tutorial": round(speed / middle["tutorial loop"], 2),
            "share_of_ceiling": None if way == DECODING else round(speed / max(ceilings.values()), 2),
            "memory_gb": round(max((one["memory_gb"] for one in seen.get(way, [])), default=0), 2) or None,
            "worst_cosine": round(cosines[way], 6) if way in cosines else None,
        }
        for way, speed in middle.items()
    }
    return {
        "photos": len(paths),
        "precision": machine_rates[0]["precision"],
        "ceiling": {precision: round(value, 1) for precision, value in ceilings.items()},
        "ways": table,
    }


def show(source: str, figures: dict[str, object]) -> None:
    print(
        f"\n{source}: {figures['photos']} photos, {figures['precision']}, ceiling {figures['ceiling']}", file=sys.stderr
    )
    print(f"{'':24}{'photos/s':>9}{'× tutorial':>12}{'of ceiling':>12}{'GB':>7}{'worst cosine':>14}", file=sys.stderr)
    ways: dict[str, dict[str, object]] = figures["ways"]  # type: ignore[assignment]
    for way, one in ways.items():
        cells = [one[key] for key in ("times_the_tutorial", "share_of_ceiling", "memory_gb", "worst_cosine")]
        text = "".join(
            f"{'' if cell is None else cell:>{width}}" for cell, width in zip(cells, (12, 12, 7, 14), strict=True)
        )
        print(f"{way:24}{one['photos_per_second']:>9}{text}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--photos", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--source", nargs="+", choices=FEWER, default=list(FEWER))
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way == "trunk":
        print(json.dumps(trunk_and_ceiling(given.folder, given.device)))
        return
    if given.way:
        print(json.dumps(run(given.way, given.folder, given.device, given.out)))
        return
    register_heif_opener()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        if not REAL.exists():
            draw_sample(work / "drawn", photos=given.photos)
        originals = sorted((REAL if REAL.exists() else work / "drawn").rglob("*.jpg"))
        found: dict[str, object] = {}
        for source in given.source:
            share, ways = FEWER[source], [way for way in WAYS if takes_part(way, source)]
            some = originals[:: max(1, len(originals) * share // given.photos)][: given.photos // share]
            photos = make(source, some, work / source)
            found[source] = compared(photos, given.device, given.rounds, work, ways)
            show(source, found[source])  # type: ignore[arg-type]
    print(json.dumps({**machine(tuple(filter(find_spec, OTHERS))), "device": given.device, "sources": found}))


if __name__ == "__main__":
    main()
