"""The documentation: it builds without a warning, and what it says to type works.

Blocks of ``sh`` and ``python`` in the tutorial and the how-tos are run in the order in which they stand, in one folder
for each page, on made-up data. Only budgets are cut: trainings are of two steps, of small networks. Blocks called
``console`` are not run: they need a cluster, an installation or a download.
"""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from caseunet.datasets import generate

ROOT = Path(__file__).parents[1]
PAGES = ["tutorial", *sorted(f"how-to/{page.stem}" for page in (ROOT / "docs" / "how-to").glob("*.md"))]
BUDGET = re.compile(r"--(minutes|steps) \S+")
SHORT = ["--steps=2", "--training.num_validations=1", "--data.batch_size=2", "--data.patch_size=[32,32]"]
SMALL = [*SHORT, "--model.kwargs.widths=[4,6]", "--model.kwargs.patch_size=null"]

Run = Callable[..., tuple[int, str, str]]


def blocks(page: str) -> Iterator[tuple[str, str]]:
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    for match in re.finditer(r"^```(sh|python)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield match[1], match[2]


def lay_out(page: str) -> None:
    """The raw data that a page speaks of, in the current folder."""
    if page == "how-to/lits":
        generate.write_lits(Path("LITS"), patients=5, shape=(6, 40, 48))
    elif page == "how-to/endovis2018":
        generate.write_endovis2018_types(Path("TYPES"))
        generate.write_endovis2018(Path("SCENES"), sequences=5, frames=2, shape=(40, 48))
    elif page == "how-to/own-images":
        generate.write_folder(Path("MINE"))
    elif page == "how-to/dicom":
        generate.write_dicom(Path("WARD"))
    else:
        generate.write_lits(Path("RAW"), patients=5, shape=(6, 40, 48))
    shutil.copytree(ROOT / "configs", "configs")


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_says_to_type_works(page: str, cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lay_out(page)
    found = list(blocks(page))
    assert found, f"{page} has nothing to run"
    for language, text in found:
        if language == "python":
            exec(compile(text, page, "exec"), {})
            continue
        for line in text.splitlines():
            words = shlex.split(line, comments=True)
            if not words or words[0] == "python":  # the data lie there already
                continue
            assert words[0] == "caseunet", f"{page}: {line}: only caseunet can be run here; call the block console"
            if words[1] in ("train", "compare") and "--resume" not in words:
                words = shlex.split(BUDGET.sub("", line), comments=True) + (SHORT if words[1] == "compare" else SMALL)
            status, out, err = cli(*words[1:])
            assert status == 0, f"{page}: {line}\n{out}\n{err}"


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    assert not re.findall("^WARNING.*", built.stderr, re.MULTILINE)
    for page in (*PAGES, "reference/cli", "reference/configuration", "reference/python"):
        assert (tmp_path / "site" / page / "index.html").is_file(), page
    python = (tmp_path / "site" / "reference" / "python" / "index.html").read_text(encoding="utf-8")
    assert "caseunet.create_model" in python
    assert "training.patience" not in python
    assert "patience" in (tmp_path / "site" / "reference" / "configuration" / "index.html").read_text(encoding="utf-8")
