// Sort and filter the tables of class "sortable". Without this they are plain tables in the order of the file.
"use strict";
const texts = new Intl.Collator("en", { numeric: true });
const toNumber = (text) => (text === "–" ? NaN : parseFloat(text.replaceAll(",", "").replace("−", "-").replace("∞", "Infinity")));
const read = (row, column) => row.cells[column].textContent.trim();

function compare(a, b, sign, isNumber) {
  if (!isNumber) return sign * texts.compare(a, b);
  const [x, y] = [toNumber(a), toNumber(b)];
  if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y); // no value: always last
  return x === y ? 0 : x < y ? -sign : sign;
}

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    // The button lies over the text instead of holding it: browsers do not print buttons in repeated headings.
    const button = document.createElement("button");
    button.setAttribute("aria-label", `sort by ${heading.firstChild.textContent}`);
    heading.append(button);
    heading.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const sign = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1, isNumber = heading.className === "number";
      body.append(...[...body.rows].sort((a, b) => compare(read(a, column), read(b, column), sign, isNumber)));
      for (const other of headings) other.setAttribute("aria-sort", "none");
      heading.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    });
  });
}

const controls = document.getElementById("controls");
if (controls) {
  const rows = [...document.getElementById("cases-table").tBodies[0].rows];
  const filter = () => {
    const fields = [...controls.querySelectorAll("[data-column]")].filter((field) => field.value.trim());
    for (const row of rows) {
      row.hidden = !fields.every((field) => {
        const cell = read(row, field.dataset.column), wanted = field.value.trim();
        return field.tagName === "SELECT" ? cell === wanted : cell.toLowerCase().includes(wanted.toLowerCase());
      });
    }
    const shown = rows.filter((row) => !row.hidden).length;
    controls.querySelector("output").textContent = `${shown.toLocaleString("en")} of ${rows.length.toLocaleString("en")} rows`;
  };
  controls.addEventListener("input", filter);
  controls.addEventListener("submit", (event) => event.preventDefault());
  controls.hidden = false;
  filter();
}

// What is folded on the screen is printed too.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => (part.open = true)));
