"""What the script of a report does in a browser: the table of cases is sorted and filtered."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.reporting.test_report import page_of, row, summary_of

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PROBE = """
<script>
const said = {}, all = (what) => [...document.querySelectorAll(`#cases-table ${what}`)];
const rows = () => all("tbody tr").filter((row) => row.offsetHeight);
const tell = (name) => (said[name] = rows().map((row) => row.cells[0].textContent).join(" "));
const heading = (text) => all("th").find((th) => th.textContent.startsWith(text));
const press = (text) => {
  const box = heading(text).getBoundingClientRect();
  scrollTo({ top: scrollY + box.top - 200, behavior: "instant" });
  const { x, y } = heading(text).getBoundingClientRect();
  document.elementFromPoint(x + 9, y + 9).click(); // what a finger hits there
};
const choose = (column, value) => {
  const field = document.querySelector(`#controls [data-column="${column}"]`);
  field.value = value;
  field.dispatchEvent(new Event("input", { bubbles: true }));
};
tell("at first");
press("HD95"), tell("rising"), (said.sort = heading("HD95").getAttribute("aria-sort"));
press("HD95"), tell("falling");
press("case"), tell("by name");
choose(0, "C1"), tell("named"), (said.output = document.querySelector("#controls output").textContent);
choose(0, ""), choose(2, "missing"), tell("missing"), choose(2, ""), tell("all");
document.body.dataset.said = JSON.stringify(said);
</script></body>
"""


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_cases_are_sorted_and_filtered(tmp_path: Path) -> None:
    distances = {"c2": 9.5, "c10": 1200.25, "C1": -1.0, "none": float("nan")}
    rows = [row(case, hd95=value, dice=0.5) for case, value in distances.items()]
    rows[1]["status"] = "missing"
    html = page_of(tmp_path, rows, summary_of()).html.replace("</body>", PROBE)
    (tmp_path / "probe.html").write_text(html, encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/user", "--dump-dom"]
    command = [str(CHROMIUM), *options, f"file://{tmp_path}/probe.html"]
    found = subprocess.run(command, capture_output=True, timeout=60, check=True)
    said = re.search(r'data-said="([^"]*)"', found.stdout.decode())
    assert said, found.stderr.decode()[-2000:]
    assert json.loads(said.group(1).replace("&quot;", '"')) == {
        "at first": "c2 c10 C1 none",
        "rising": "C1 c2 c10 none",
        "sort": "ascending",
        "falling": "c10 c2 C1 none",
        "by name": "C1 c2 c10 none",
        "named": "C1 c10",
        "output": "2 of 4 rows",
        "missing": "c10",
        "all": "C1 c2 c10 none",
    }
