// The table `path,label,group,start,end` that train.py and recognition.score read.
let forgetting = null;

// What is said stands at the bottom of the window for a while.
function say(text) {
  byId("message").textContent = text;
  clearTimeout(forgetting);
  forgetting = setTimeout(() => byId("message").replaceChildren(), 10000);
}

function showState() {
  const count = numUnsaved();
  const corrections = `${plural(count, "correction")} ${count === 1 ? "is" : "are"} not saved yet.`;
  byId("unsaved").textContent = count === 0 ? "No corrections to save." : corrections;
  byId("to-saving").hidden = count === 0;
  byId("to-saving").textContent = corrections;
  byId("undo").disabled = past.length === 0;
  byId("reset").disabled = !chosen?.isCorrected;
  drawList();
}

// A cell that a spreadsheet would take for a formula begins with a space, which readers of the table strip.
function csvCell(value) {
  const text = /^[=+\-@\t\r]/.test(value) ? ` ${value}` : String(value);
  return /[",;\n\r\t]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function pathOf(video) {
  const folder = byId("folder").value.trim().replace(/[/\\]+$/, "");
  const isBelowFolder = !video.isLive && folder !== "" && facts.folder !== null;
  return isBelowFolder ? `${folder}/${video.path}` : video.path;
}

function plural(count, noun) {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

function isSaved(video) {
  return byId("save-scope").value === "all" || Boolean(video.isChecked);
}

function correctedRows() {
  return videos.filter(isSaved).flatMap((video) => eventsOf(video).map((event) => ({video, event})));
}

// What train.py will refuse, and what it cannot know.
function warningsAbout(items) {
  const counts = new Map();
  const parts = new Set();
  const doubles = new Set();
  for (const {video, event} of items) {
    counts.set(event.label, (counts.get(event.label) ?? 0) + 1);
    const part = `${videos.indexOf(video)} ${event.start} ${event.end}`;
    if (parts.has(part)) doubles.add(video.name);
    parts.add(part);
  }
  const rare = [...counts].filter(([, count]) => count === 1).map(([label]) => nameOf(label));
  const warnings = [];
  if (rare.length > 0) warnings.push(`train.py needs two events of each label, and there is one of ${rare.slice(0, 5).join(", ")}.`);
  if (doubles.size > 0) warnings.push(`train.py takes one label for one part; two events of ${[...doubles].slice(0, 5).join(", ")} have the same start and end.`);
  if (items.some(({video}) => /[\n\r]/.test(video.path))) warnings.push("train.py takes no name with a line break: rename the file.");
  if (items.some(({video}) => video.isLive)) warnings.push("train.py needs a recording without labels drawn on it, and of a camera or stream there is none here.");
  return warnings;
}

// What the table has, what it lacks, and what is wrong with it.
function describeTable(items) {
  const corrected = videos.filter((video) => video.isCorrected);
  const numLeftOut = corrected.filter((video) => !isSaved(video)).length;
  const numEmpty = corrected.filter((video) => isSaved(video) && eventsOf(video).length === 0).length;
  const numVideos = new Set(items.map(({video}) => video)).size;
  const notes = [`corrections.csv has ${plural(items.length, "event")} of ${plural(numVideos, "video")}.`, ...warningsAbout(items)];
  if (numLeftOut > 0) notes.push(`Not in it, because not checked: ${plural(numLeftOut, "corrected video")}.`);
  if (numEmpty > 0) notes.push(`No row names ${plural(numEmpty, "corrected video")} without an event: write an event "background" to score it.`);
  return notes.join(" ");
}

function saveTable() {
  const items = correctedRows();
  const rows = items.map(({video, event}) => [pathOf(video), nameOf(event.label), video.group, event.start, event.end]);
  const lines = [["path", "label", "group", "start", "end"], ...rows].map((row) => row.map(csvCell).join(","));
  const table = new Blob([`${lines.join("\r\n")}\r\n`], {type: "text/csv;charset=utf-8"});
  const link = element("a", {href: URL.createObjectURL(table), download: "corrections.csv"});
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  const isComplete = videos.every((video) => !video.isCorrected || isSaved(video));
  if (isComplete) {
    numRestored = 0;
    numSaved = past.length;
  }
  store();
  showState();
  byId("saved").textContent = describeTable(items);
}

byId("save").addEventListener("click", saveTable);
window.addEventListener("beforeunload", (leaving) => {
  if (numUnsaved() > 0) leaving.preventDefault();
});
