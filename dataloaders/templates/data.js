const rows = document.querySelectorAll("#class-table tbody tr");
const cards = document.querySelectorAll("details.class");
const filter = document.getElementById("filter");
const fold = document.getElementById("fold");

function showClasses() {
  const wanted = filter.value.trim().toLowerCase();
  const shown = new Set();
  for (const row of rows) {
    row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
    if (!row.hidden) shown.add(row.dataset.class);
  }
  for (const card of cards) card.hidden = !shown.has(card.dataset.class);
  const of = wanted === "" ? "" : `${shown.size.toLocaleString("en")} of `;
  document.getElementById("filtered").textContent =
    `${of}${cards.length.toLocaleString("en")} ${cards.length === 1 ? "class" : "classes"}`;
}

// Many classes are folded until somebody looks for one.
function filterClasses() {
  showClasses();
  for (const part of document.querySelectorAll("details.long")) part.open = true;
}

function foldClasses() {
  const isFolded = fold.getAttribute("aria-pressed") !== "true";
  fold.setAttribute("aria-pressed", isFolded);
  for (const card of cards) card.open = !isFolded;
}

// A link leads to what it names, also where that is folded.
function openTarget() {
  const target = document.getElementById(location.hash.slice(1));
  for (let part = target?.closest("details"); part; part = part.parentElement.closest("details")) {
    part.open = true;
  }
}

filter.addEventListener("input", filterClasses);
fold.addEventListener("click", foldClasses);
addEventListener("hashchange", openTarget);
openTarget();
showClasses(); // the browser may have kept what was typed before a reload

addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details")) part.open = true;
});
