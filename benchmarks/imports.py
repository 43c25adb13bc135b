"""What `import petrieve` costs, and what each call costs to import before it does anything.

    python benchmarks/imports.py     prints a line of JSON; asserts that `import petrieve` takes 0.3 s at most

Each is the median of processes of their own, in turn with processes that import nothing, whose time is taken off. A
call is made on a store that is not there: it imports what stands at its head, and fails when it looks for the store.
"""

import json
import statistics
import subprocess
import sys
import time

from machine import machine

ROUNDS, MOST_SECONDS = 7, 0.3
CALLS = {
    "nothing": "pass",
    "import petrieve": "import petrieve",
    "open": "import petrieve; petrieve.open('none')",
    **{
        name: f"import petrieve\ntry: petrieve.open('none').{name}({given})\nexcept petrieve.PetrieveError: pass"
        for name, given in {
            "embed": "'nowhere', quiet=True",
            "info": "",
            "verify": "",
            "doctor": "'nowhere'",
            "fit_head": "",
            "predict": "'a.jpg'",
            "audit": "",
            "report": "",
            "compare_trunks": "",
            "similar": "'a.jpg'",
            "evaluate": "",
            "duplicates": "",
            "build_index": "",
            "export": "'a.parquet'",
            "import_": "'a.parquet'",
            "to_arrow": "",
            "to_numpy": "",
        }.items()
    },
}


def seconds(code: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    taken: dict[str, list[float]] = {name: [] for name in CALLS}
    for _ in range(ROUNDS):
        for name, code in CALLS.items():
            taken[name].append(seconds(code))
    medians = {name: statistics.median(some) for name, some in taken.items()}
    costs = {name: round(1000 * (one - medians["nothing"])) for name, one in medians.items() if name != "nothing"}
    assert costs["import petrieve"] <= 1000 * MOST_SECONDS, costs
    print(json.dumps({"milliseconds": costs, "python": round(1000 * medians["nothing"]), "machine": machine()}))


if __name__ == "__main__":
    main()
