// The table of events: it sorts, filters, plays and corrects. A row that is edited stays where it is until the next
// sorting or filtering, so that nothing jumps away from under a hand.
const PAGE_ROWS = 100;
const eventRows = byId("events").tBodies[0];
const order = {key: "start", descends: false};
let numRows = PAGE_ROWS;

function allInScope() {
  const shown = byId("scope").value === "all" ? videos : [chosen];
  return shown.flatMap((video) => eventsOf(video).map((event) => ({video, event})));
}

// Events that people have added have no probability, and pass.
function passes({event}) {
  const label = byId("filter-label").value;
  if (label !== "" && event.label !== Number(label)) return false;
  if (event.probability === null) return true;
  return 100 * event.probability >= Number(byId("filter-low").value) && 100 * event.probability <= Number(byId("filter-high").value || 100);
}

function sortValue({video, event}) {
  if (order.key === "name") return video.name;
  if (order.key === "label") return nameOf(event.label);
  return event[order.key];
}

function sortItems(items) {
  const keyed = items.map((item) => ({item, value: sortValue(item)}));
  keyed.sort((one, other) => {
    if ((one.value === null) !== (other.value === null)) return one.value === null ? 1 : -1;
    return compareValues(one.value, other.value) * (order.descends ? -1 : 1);
  });
  return keyed.map(({item}) => item);
}

function drawEventTable() {
  const all = allInScope();
  const found = sortItems(all.filter(passes));
  byId("events").classList.toggle("shows-all", byId("scope").value === "all");
  eventRows.replaceChildren(...found.slice(0, numRows).map(makeRow));
  byId("events-more").hidden = found.length <= numRows;
  const shown = found.length > numRows ? `, the first ${numRows} shown` : "";
  byId("events-count").textContent = all.length === 0 ? "No events." : `${found.length} of ${all.length} events${shown}.`;
  markChosenRow();
}

function makeRow({video, event}) {
  const row = element("tr", {id: `event-${event.id}`});
  const play = element("button", {type: "button", className: "play", textContent: "\u25b6"});
  const remove = element("button", {type: "button", className: "remove", textContent: "\u2715"});
  const swatch = element("span", {className: "swatch"});
  const label = element("input", {type: "text", className: "label", list: "labels", autocomplete: "off", spellcheck: false});
  const start = element("input", {type: "text", className: "time", inputMode: "decimal", autocomplete: "off"});
  const end = element("input", {type: "text", className: "time", inputMode: "decimal", autocomplete: "off"});
  row.append(
    element("td", {}, play),
    element("td", {className: "of-all"}, element("bdi", {textContent: video.name})),
    element("td", {className: "label-cell"}, swatch, label),
    element("td", {}, start),
    element("td", {}, end),
    element("td", {className: "number"}),
    element("td", {}, remove),
  );
  const item = {video, id: event.id};
  const current = () => eventsOf(video).find(({id}) => id === item.id);
  play.addEventListener("click", () => playRow(video, current()));
  remove.addEventListener("click", () => removeEvent(video, current()));
  row.addEventListener("click", (click) => {
    if (click.target.closest("input, button") === null) playRow(video, current());
  });
  row.addEventListener("focusin", () => {
    if (video === chosen && current() !== undefined) chooseEvent(current());
  });
  label.addEventListener("focus", () => offerAllLabels(label));
  label.addEventListener("input", (input) => {
    const isChosen = !(input instanceof InputEvent) || input.inputType === "insertReplacementText";
    if (isChosen) changeLabel(video, current(), label.value); // out of the list; what is typed waits for "change"
  });
  label.addEventListener("blur", () => {
    const event = current();
    if (event !== undefined) label.value = nameOf(event.label);
  });
  label.addEventListener("change", () => changeLabel(video, current(), label.value));
  start.addEventListener("change", () => changeTime(video, current(), "start", start));
  end.addEventListener("change", () => changeTime(video, current(), "end", end));
  row.addEventListener("keydown", (key) => {
    if (key.key === "Enter" && key.target.tagName === "INPUT") key.target.blur();
  });
  fillRow(row, video, event);
  return row;
}

function fillRow(row, video, event) {
  if (event === undefined) return; // it was removed meanwhile
  const [play, , cell, start, end, probability, remove] = row.cells;
  const from = clock(event.start, video.duration);
  const to = clock(event.end, video.duration);
  const what = `${nameOf(event.label)} from ${from} to ${to}`;
  play.firstChild.setAttribute("aria-label", `Play ${what}`);
  remove.firstChild.setAttribute("aria-label", `Remove ${what}`);
  cell.firstChild.style.background = colourOf(event.label);
  cell.lastChild.value = nameOf(event.label);
  cell.lastChild.setAttribute("aria-label", `Label of ${what}`);
  start.firstChild.value = from;
  start.firstChild.setAttribute("aria-label", `Start of ${what}`);
  end.firstChild.value = to;
  end.firstChild.setAttribute("aria-label", `End of ${what}`);
  probability.textContent = event.probability === null ? "added" : percent(event.probability);
}

// A list of suggestions shows only what begins with the text: an empty field shows all of it.
function offerAllLabels(input) {
  input.placeholder = input.value;
  input.value = "";
}

function changeLabel(video, event, text) {
  const name = text.trim();
  if (name === "" || event === undefined || name === nameOf(event.label)) return;
  if (/[/\\\p{Cc}]/u.test(name) || name === "." || name === "..") {
    say(`A label names a folder, so "${name}" cannot be one.`);
    return;
  }
  if (!facts.classes.includes(name)) say(`"${name}" is a new label.`);
  showCorrection(replaceEvent(video, event, {label: numberOf(name)}), video);
  drawLabels();
}

function changeTime(video, event, side, input) {
  const seconds = parseClock(input.value);
  const changed = {...event, [side]: Math.round(1000 * seconds) / 1000};
  const isRight = changed.end > changed.start && changed.end <= video.duration;
  input.setAttribute("aria-invalid", String(!isRight));
  if (!isRight) {
    say(`"${input.value}" is no ${side} of this event: it starts before it ends, between 0 and ${clock(video.duration, video.duration)}.`);
  } else if (changed[side] !== event[side]) {
    showCorrection(replaceEvent(video, event, {[side]: changed[side]}), video);
    if (video === chosen) seek(changed[side]);
  }
}

// Shows a changed event where it stands already.
function showCorrection(event, video = chosen) {
  const row = byId(`event-${event.id}`);
  if (row !== null) fillRow(row, video, event);
  drawTimeline();
  if (drag === null) showState();
}

function addEvent() {
  if (chosen.duration === undefined) return;
  const start = Math.min(position, Math.max(0, chosen.duration - SHORTEST));
  const end = Math.min(start + 2, chosen.duration);
  const place = chosen.ends.findIndex((time) => time > start);
  const label = chosen.labels[place] ?? chosen.top[0][0];
  const [from, to] = [start, end].map((time) => Math.round(1000 * time) / 1000);
  const event = newEvent(from, to, label, null);
  correct(chosen, [...eventsOf(chosen), event]);
  chooseEvent(event);
  showAllCorrections();
  const row = byId(`event-${event.id}`);
  if (row === null) say("The new event is hidden by the filters of the table.");
  else row.querySelector(".label").focus();
}

function removeEvent(video, event) {
  const events = eventsOf(video);
  const place = events.indexOf(event);
  const row = byId(`event-${event.id}`);
  const neighbour = row?.nextElementSibling ?? row?.previousElementSibling;
  const hadFocus = row !== null && row.contains(document.activeElement);
  correct(video, events.filter((other) => other !== event));
  if (chosenEvent === event) chosenEvent = eventsOf(video)[place] ?? null;
  showAllCorrections();
  if (hadFocus) (byId(neighbour?.id)?.querySelector(".remove") ?? byId("add")).focus();
  say(`${nameOf(event.label)} is removed; "Undo" brings it back.`);
}

function undo() {
  const video = undoLast();
  if (video === null) return;
  if (chosenEvent !== null) chosenEvent = eventsOf(chosen).find(({id}) => id === chosenEvent.id) ?? null;
  if (video !== chosen) chooseVideo(video);
  showAllCorrections();
  say("The last correction is undone.");
}

function backToPredictions() {
  correct(chosen, (chosen.events ?? []).map(([start, end, label, probability]) => newEvent(start, end, label, probability)));
  chosen.isCorrected = false;
  chosenEvent = null;
  store();
  showAllCorrections();
}

function showAllCorrections() {
  drawLabels();
  drawEventTable();
  drawTimeline();
  showState();
}

function chooseEvent(event) {
  if (chosenEvent === event) return;
  chosenEvent = event;
  markChosenRow();
  drawTimeline();
}

function markChosenRow() {
  for (const row of eventRows.querySelectorAll("[aria-current]")) row.removeAttribute("aria-current");
  if (chosenEvent !== null) byId(`event-${chosenEvent.id}`)?.setAttribute("aria-current", "true");
}

function playRow(video, event) {
  if (video !== chosen) chooseVideo(video, {keepsTable: true});
  chooseEvent(event);
  playEvent(event);
  bringIntoView(event.start);
}

// What can be chosen as a label, and what the table can be filtered by.
function drawLabels() {
  if (byId("labels").childElementCount !== facts.classes.length) {
    byId("labels").replaceChildren(...facts.classes.map((name) => element("option", {value: name})));
  }
  const filter = byId("filter-label");
  const counts = new Map();
  for (const {event} of allInScope()) counts.set(event.label, (counts.get(event.label) ?? 0) + 1);
  const isKept = filter.value === "" || counts.has(Number(filter.value));
  const kept = isKept ? filter.value : "";
  const labels = [...counts.keys()].sort((one, other) => compareValues(nameOf(one), nameOf(other)));
  const options = labels.map((label) => element("option", {value: String(label), textContent: `${nameOf(label)} (${counts.get(label)})`}));
  filter.replaceChildren(element("option", {value: "", textContent: "all"}), ...options);
  filter.value = kept;
}

function filterChanged() {
  numRows = PAGE_ROWS;
  drawEventTable();
}

byId("filter-label").addEventListener("change", filterChanged);
for (const id of ["filter-low", "filter-high"]) byId(id).addEventListener("input", filterChanged);
byId("scope").addEventListener("change", () => {
  drawLabels();
  filterChanged();
});
byId("events-more").addEventListener("click", () => {
  numRows += PAGE_ROWS;
  drawEventTable();
});
byId("events").tHead.addEventListener("click", (click) => {
  const header = click.target.closest("th[data-key]");
  if (header === null) return;
  order.descends = order.key === header.dataset.key ? !order.descends : false;
  order.key = header.dataset.key;
  for (const other of header.parentNode.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", order.descends ? "descending" : "ascending");
  filterChanged();
});
byId("add").addEventListener("click", addEvent);
byId("undo").addEventListener("click", undo);
byId("reset").addEventListener("click", backToPredictions);
