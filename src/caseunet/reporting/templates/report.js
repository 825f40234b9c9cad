// Sort and filter the tables of class "sortable". Without this they are plain tables in the order of the file.
"use strict";
(() => {
  const value = (text, numeric) => {
    if (!numeric) return text;
    const number = Number(text.replaceAll(",", "").replace("−", "-").replace("∞", "Infinity"));
    return text === "–" || text === "" ? NaN : number;
  };
  const texts = new Intl.Collator("en", { numeric: true });

  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    const headings = [...table.tHead.rows[0].cells];
    headings.forEach((heading, column) => {
      // The button lies over the text instead of holding it: browsers do not print buttons in repeated headings.
      const title = heading.querySelector("span");
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-label", title.textContent);
      title.setAttribute("aria-hidden", "true");
      title.after(button);
      heading.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const sign = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
        const numeric = heading.dataset.type === "number";
        const keyed = [...body.rows].map((row) => [value(row.cells[column].textContent.trim(), numeric), row]);
        keyed.sort(([a], [b]) => {
          if (!numeric) return sign * texts.compare(a, b);
          if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b); // no value: always last
          return a === b ? 0 : a < b ? -sign : sign;
        });
        body.append(...keyed.map(([, row]) => row));
        for (const other of headings) other.setAttribute("aria-sort", "none");
        heading.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      });
    });
  }

  const controls = document.getElementById("controls");
  if (controls) {
    const rows = [...document.getElementById("cases-table").tBodies[0].rows];
    const fields = [...controls.querySelectorAll("[data-column]")];
    const filter = () => {
      const wanted = fields
        .filter((field) => field.value.trim())
        .map((field) => [Number(field.dataset.column), field.value.trim().toLowerCase(), field.tagName === "SELECT"]);
      let kept = 0;
      for (const row of rows) {
        row.hidden = !wanted.every(([column, text, whole]) => {
          const cell = row.cells[column].textContent.trim().toLowerCase();
          return whole ? cell === text : cell.includes(text);
        });
        kept += !row.hidden;
      }
      controls.querySelector("output").textContent =
        `${kept.toLocaleString("en")} of ${rows.length.toLocaleString("en")} rows`;
    };
    for (const field of fields) field.addEventListener("input", filter);
    controls.addEventListener("submit", (event) => event.preventDefault());
    controls.hidden = false;
    filter();
  }

  // What is folded on the screen is printed too.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const part of folded) part.open = true;
  });
  addEventListener("afterprint", () => {
    for (const part of folded) part.open = false;
  });
})();
