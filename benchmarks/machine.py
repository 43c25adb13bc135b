"""What a figure was measured on, and with what."""

import datetime
import os
import platform
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("torch", "torchvision", "torchcodec", "pylance", "faiss-cpu", "scikit-learn", "pillow")


def machine(others: tuple[str, ...] = ()) -> dict[str, object]:
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cpu": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{package: version(package) for package in (*PACKAGES, *others)},
    }


def resident(process: int) -> int:
    """Bytes of memory that a process holds, without what it shares with others by name; 0 where there is none."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(("RssAnon", "RssFile")))


def named(start: str, below: int) -> list[int]:
    """The processes that a process has started, and those that they have, whose command begins so."""
    parents, names = dict[int, int](), dict[int, str]()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                names[int(folder.name)] = (folder / "cmdline").read_text().split("\0")[0]
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found, level = list[int](), [below]
    while level:
        level = [process for process, parent in parents.items() if parent in level]
        found += [process for process in level if names[process].startswith(start)]
    return found
