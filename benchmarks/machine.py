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
