// A table of the class "sorts" sorts by each column whose header holds a button, by mouse and keyboard.
// A cell is compared by its data-value, or by its text; numbers go by size, and empty cells come last.
function cellValue(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.value ?? cell.textContent.trim();
  const number = Number(text);
  return text === "" || Number.isNaN(number) ? text : number;
}

function compareValues(one, other) {
  if (typeof one === "number" && typeof other === "number") return one - other;
  return String(one).localeCompare(String(other), undefined, {numeric: true});
}

function sortTable(table, header) {
  const descends = header.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", descends ? "descending" : "ascending");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows, (row) => ({row, value: cellValue(row, header.cellIndex)}));
  rows.sort((one, other) => {
    if ((one.value === "") !== (other.value === "")) return one.value === "" ? 1 : -1;
    return compareValues(one.value, other.value) * (descends ? -1 : 1);
  });
  body.append(...rows.map((item) => item.row));
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("table.sorts thead th button");
  if (button) sortTable(button.closest("table"), button.closest("th"));
});
