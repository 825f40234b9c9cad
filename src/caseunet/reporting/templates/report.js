// Sort and filter the tables of class "sortable". Without this they are plain tables in the order of the file.
"use strict";
const texts = new Intl.Collator("en", { numeric: true });
const toNumber = (text) => (text === "–" ? NaN : parseFloat(text.replaceAll(",", "").replace("−", "-").replace("∞", "Infinity")));

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    // The button lies over the text instead of holding it: browsers do not print buttons in repeated headings.
    const button = document.createElement("button"), title = heading.querySelector("span");
    button.setAttribute("aria-label", title.textContent);
    title.setAttribute("aria-hidden", "true");
    title.after(button);
    heading.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const sign = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      const cell = (row) => row.cells[column].textContent.trim();
      body.append(...[...body.rows].sort((a, b) => {
        if (heading.dataset.type !== "number") return sign * texts.compare(cell(a), cell(b));
        const [x, y] = [toNumber(cell(a)), toNumber(cell(b))];
        if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y); // no value: always last
        return x === y ? 0 : x < y ? -sign : sign;
      }));
      for (const other of headings) other.setAttribute("aria-sort", "none");
      heading.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    });
  });
}

const controls = document.getElementById("controls");
if (controls) {
  const rows = [...document.getElementById("cases-table").tBodies[0].rows];
  const filter = () => {
    const wanted = [...controls.querySelectorAll("[data-column]")].filter((field) => field.value.trim());
    for (const row of rows) {
      row.hidden = !wanted.every((field) => {
        const cell = row.cells[field.dataset.column].textContent.trim().toLowerCase(), text = field.value.trim().toLowerCase();
        return field.tagName === "SELECT" ? cell === text : cell.includes(text);
      });
    }
    const kept = rows.filter((row) => !row.hidden).length;
    controls.querySelector("output").textContent = `${kept.toLocaleString("en")} of ${rows.length.toLocaleString("en")} rows`;
  };
  controls.addEventListener("input", filter);
  controls.addEventListener("submit", (event) => event.preventDefault());
  controls.hidden = false;
  filter();
}

// What is folded on the screen is printed too.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => (part.open = true)));
