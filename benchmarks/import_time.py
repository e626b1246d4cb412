"""What does `import aquin_nb` cost? Alternating fresh processes, median of each, as a ratio to `import torch`.

python benchmarks/import_time.py [--runs 9]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

from report import write

CODE = "import time; t = time.perf_counter(); import {name}; print(time.perf_counter() - t)"


def seconds(name: str) -> float:
    done = subprocess.run([sys.executable, "-c", CODE.format(name=name)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=9)
    args = parser.parse_args()
    taken: dict[str, list[float]] = {"aquin_nb": [], "torch": []}
    for _ in range(args.runs):
        for name in taken:
            taken[name].append(seconds(name))
    median = {name: statistics.median(values) for name, values in taken.items()}
    ratio = median["aquin_nb"] / median["torch"]
    under = all(value < 0.3 for value in taken["aquin_nb"])
    write("import_time", vars(args), [{"aquin_nb / torch": ratio, "every run under 0.3 s": under}])


if __name__ == "__main__":
    main()
