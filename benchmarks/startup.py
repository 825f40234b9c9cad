"""How long the command line takes to answer: the help of every verb, beside an import of numpy.

    python benchmarks/startup.py benchmarks/startup.json

Each is started anew several times, and the fastest counts: the others waited for the machine.

Predicted: --help within 0.4 s, the help of each verb within 0.7 s on a machine that does nothing else.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from caseunet.cli.entry import VERBS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    numpy = fastest(["-c", "import numpy"], given.repeats)
    seconds = {"import numpy": numpy, "--help": fastest(["-m", "caseunet", "--help"], given.repeats)}
    seconds |= {verb: fastest(["-m", "caseunet", verb, "--help"], given.repeats) for verb in VERBS}
    print("| what | seconds | times import numpy |\n|---|--:|--:|")
    for name, value in seconds.items():
        print(f"| {name} | {value:.2f} | {value / numpy:.1f} |")
    given.out.write_text(json.dumps({name: round(value, 3) for name, value in seconds.items()}, indent=1) + "\n")


def fastest(arguments: list[str], repeats: int) -> float:
    """Seconds of a Python process from its start to its end."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - began)
    return min(times)


if __name__ == "__main__":
    main()
