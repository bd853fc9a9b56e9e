"use strict";
// Works on what the page shows already: no data of its own, and nothing is made of text but text.
const order = new Intl.Collator("en", { numeric: true }).compare;
const textOf = (row, column) => row.cells[column].textContent.trim();
const numberOf = (text) => { const found = parseFloat(text.replace(/[,%]/g, "")); return isNaN(found) ? -1 : found; };

function sortBy(table, column, head) {
  const isDown = head.getAttribute("aria-sort") === "ascending";
  for (const each of table.tHead.rows[0].cells) each.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", isDown ? "descending" : "ascending");
  const isNumber = head.classList.contains("n");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows, (row) => {
    const text = textOf(row, column);
    return [isNumber ? numberOf(text) : text, row];
  });
  const compare = isNumber ? (a, b) => a[0] - b[0] : (a, b) => order(a[0], b[0]);
  rows.sort(isDown ? (a, b) => compare(b, a) : compare);
  body.append(...rows.map((each) => each[1]));
}

for (const table of document.querySelectorAll("table")) {
  if (table.tBodies[0].rows.length < 2) continue;
  Array.from(table.tHead.rows[0].cells, (head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sortBy(table, column, head));
    head.append(button);
    head.setAttribute("aria-sort", "none");
  });
}

const form = document.querySelector(".filter");
if (form) {
  const [input, select, count] = ["input", "select", "output"].map((name) => form.querySelector(name));
  const rows = Array.from(document.getElementById("worklist").tBodies[0].rows, (row) =>
    [row, row.textContent.toLowerCase(), (row.dataset.is || "").split(" ")]);
  const apply = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const kind = select ? select.value : "";
    let shown = 0;
    for (const [row, text, kinds] of rows) {
      row.hidden = !(words.every((word) => text.includes(word)) && (!kind || kinds.includes(kind)));
      shown += !row.hidden;
    }
    count.textContent = `${shown.toLocaleString("en")} of ${rows.length.toLocaleString("en")} rows`;
  };
  input.addEventListener("input", apply);
  if (select) select.addEventListener("change", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  apply();
}

// What is folded on a screen is wanted on paper.
let folded = [];
addEventListener("beforeprint", () => {
  folded = Array.from(document.querySelectorAll("details:not([open])"));
  for (const each of folded) each.open = true;
});
addEventListener("afterprint", () => { for (const each of folded) each.open = false; });
