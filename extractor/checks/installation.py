"""What is wrong with an installation, before it costs a run: its GPU, its libraries, its disks, its weights."""

import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from statistics import median

from petrieve.extractor.trunks.kinds import FIRST, KINDS
from petrieve.extractor.trunks.weights import imagenet_file
from petrieve.store.folder import Store, read_card

ROOM = 1 << 30  # bytes that a store needs to grow: 4 kB a photo, and pieces that are being merged
ROOM_FOR_LISTS = 1 << 28  # what a run over ten million photos lists
SLOW = 0.1  # seconds that a commit may wait for its disk: on two cores a batch takes 0.13
TRIES = 5
NVIDIA, DISPLAY = "0x10de", "0x03"  # of PCI: the vendor; how the class of a graphics card begins


@dataclass(frozen=True)
class Trouble:
    """A finding about an installation: `wrong` if it must be mended, else for information."""

    what: str
    why: str
    remedy: str
    wrong: bool = True


def versions() -> dict[str, str]:
    """What is installed and where, and where torch would compute."""
    import torch

    from petrieve import __version__
    from petrieve.extractor.trunks.device import named

    known = {
        "petrieve": __version__,
        "folder": str(Path(__file__).parents[2]),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    return {**known, "device": str(named("auto")), "system": platform.platform()}


def troubles(store: Store) -> list[Trouble]:
    """Findings about this machine for runs that write to a store, which may not exist yet."""
    return [*_gpu(), *_openmp(), *_disks(store), *_weights(store)]


def _gpu() -> Iterator[Trouble]:
    import torch

    if torch.cuda.is_available():
        return
    there = any(_is_nvidia(Path(device)) for device in glob("/sys/bus/pci/devices/*")) or os.path.exists("/dev/nvidia0")
    if torch.version.cuda and there:
        yield Trouble(
            "there is an NVIDIA GPU, and torch cannot use it",
            "all is computed on the processor, many times slower",
            f"install a driver for CUDA {torch.version.cuda}, or a torch for the driver that `nvidia-smi` names",
        )
    elif torch.version.cuda:
        yield Trouble(
            "torch has CUDA's libraries, and there is no NVIDIA GPU",
            "they take 4 GB of disk, and nothing else",
            "leave it so, or install torch and torchvision from PyTorch's index of CPU builds",
            wrong=False,
        )
    elif there:
        yield Trouble(
            "there is an NVIDIA GPU, and torch was built without CUDA",
            "all is computed on the processor, many times slower",
            "install a torch with CUDA",
        )


def _is_nvidia(device: Path) -> bool:
    with suppress(OSError):
        return (device / "vendor").read_text().startswith(NVIDIA) and (device / "class").read_text().startswith(DISPLAY)
    return False


def _openmp() -> Iterator[Trouble]:
    """Two copies of one OpenMP live side by side, as torch's and faiss's do; GNU's beside Intel's or LLVM's do not."""
    import faiss  # noqa: F401
    import torch  # noqa: F401
    from threadpoolctl import threadpool_info

    loaded = {one["prefix"]: one["filepath"] for one in threadpool_info() if one["user_api"] == "openmp"}
    if len(loaded) > 1:
        yield Trouble(
            f"two kinds of OpenMP are loaded: {' and '.join(sorted(loaded.values()))}",
            "they compete for cores, and may hang or crash",
            "take one of them out of LD_PRELOAD, or reinstall the package that brought it",
        )


def _disks(store: Store) -> Iterator[Trouble]:
    places = {Path(tempfile.gettempdir()): ROOM_FOR_LISTS}
    if isinstance(store.path, Path):
        places = {_there(store.path): ROOM, **places}
    for place, room in places.items():
        free = shutil.disk_usage(place).free
        if free < room:
            yield Trouble(
                f"there are {free >> 20:,} MB left on the disk of {place}",
                "a run stops where its disk is full; what it has committed stays",
                f"make room, {room >> 20:,} MB at least, or use another disk: `--store` and TMPDIR name them",
            )
    if isinstance(store.path, Path):
        yield from _slow(_there(store.path))


def _slow(folder: Path) -> Iterator[Trouble]:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            seconds = median(_forced(file.fileno()) for _ in range(TRIES))
    except OSError as error:
        yield Trouble(
            f"{folder} cannot be written to: {error.strerror}",
            "`embed` and `fit-head` write to the store; all else only reads it",
            "name another folder by `--store`, or have its owner let you write",
            wrong=False,
        )
        return
    if seconds > SLOW:
        yield Trouble(
            f"the disk of {folder} takes {seconds * 1000:,.0f} ms to keep 4 kB",
            "a run waits for it at each commit, several times a second",
            "put the store on a disk of this machine, by `--store`, and copy it when it is done",
            wrong=False,
        )


def _forced(file: int) -> float:
    """Seconds until a page is on the disk."""
    started = time.perf_counter()
    os.write(file, bytes(4096))
    os.fsync(file)
    return time.perf_counter() - started


def _weights(store: Store) -> Iterator[Trouble]:
    card = read_card(store)
    for made in card.trunks if card else ():
        file = imagenet_file(KINDS[made.kind]) if made.weights == "imagenet" else Path(made.weights)
        if made.weights != "bundled" and not file.exists():
            fetched = f", or let `petrieve embed FOLDER --trunk {made.name}` fetch it"
            yield Trouble(
                f"the weights of {made.name} are not at {file}",
                "no new photo can be embedded or asked about; stored embeddings can still be used",
                "put the file there" + fetched * (made.weights == "imagenet"),
            )
    if card is None and not imagenet_file(FIRST).exists():
        yield Trouble(
            "ImageNet's weights are not on this disk",
            "a new store that cannot fetch them within seconds takes the bundled trunk, which tells cats from dogs and "
            "knows little of breeds",
            f"`petrieve embed FOLDER --weights imagenet` fetches 32 MB; or put {FIRST.url} at {imagenet_file(FIRST)}",
            wrong=False,
        )


def _there(folder: Path) -> Path:
    """A folder, or the nearest above it that exists."""
    above = folder.absolute()
    while not above.is_dir():
        above = above.parent
    return above
