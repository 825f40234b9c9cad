"""How long the command line takes to answer: the help of every verb, beside an import of numpy.

    python benchmarks/startup.py benchmarks/startup.json [--predict BUNDLE VOLUME]

Each is started anew several times, and the fastest counts: the others waited for the machine. With --predict also
how long one small volume takes, and how much of that Python spends in imports.

Predicted: --help within 0.4 s, the help of each verb within 0.7 s on a machine that does nothing else. Half of the
time for a small volume at most is importing.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from caseunet.cli.entry import VERBS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--predict", nargs=2, metavar=("BUNDLE", "VOLUME"))
    given = parser.parse_args()
    numpy = fastest(["-c", "import numpy"], given.repeats)
    seconds = {"import numpy": numpy, "--help": fastest(["-m", "caseunet", "--help"], given.repeats)}
    seconds |= {verb: fastest(["-m", "caseunet", verb, "--help"], given.repeats) for verb in VERBS}
    if given.predict:
        with tempfile.TemporaryDirectory() as folder:
            command = ["-m", "caseunet", "predict", *given.predict, "--out", f"{folder}/masks", "--overwrite"]
            seconds["predict, one small volume"] = fastest(command, given.repeats)
            seconds["of which importing torch"] = importing(["-c", "import torch"], given.repeats)
            seconds["of which importing"] = importing(command, given.repeats)
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


def importing(arguments: list[str], repeats: int) -> float:
    """Seconds of a Python process that imports take, each module counted by itself."""
    times = []
    for _ in range(repeats):
        done = subprocess.run([sys.executable, "-X", "importtime", *arguments], capture_output=True, text=True)
        times.append(sum(map(int, re.findall(r"^import time: +(\d+)", done.stderr, re.MULTILINE))) / 1e6)
    return min(times)


if __name__ == "__main__":
    main()
