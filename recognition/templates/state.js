// The videos, their events and the corrections of them. An event is never changed but replaced, so that "undo" can
// keep lists of events: {id, start, end, label, probability}, label by its number in `facts.classes`.
const facts = JSON.parse(document.getElementById("facts").textContent);
const videos = document.getElementById("data").textContent.split("\n").filter((line) => line.trim() !== "")
  .map((line) => JSON.parse(line));
const numClasses = facts.classes.length; // of the network; labels that people type come behind them
const storageKey = `corrections ${facts.id}`;
const past = []; // {video, events, isCorrected} before each correction, for "undo"
let chosen = null; // the video that is shown
let chosenEvent = null; // the event that keys change
let numRestored = 0; // corrections that were not saved when the page was left
let numSaved = 0; // of `past`
let lastId = 0;

const byId = (id) => document.getElementById(id);

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in node && name !== "list") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function colourOf(label) {
  return label === null ? facts.noLabel : facts.colours[label % facts.colours.length];
}

function nameOf(label) {
  return label === null ? "none" : facts.classes[label];
}

function numberOf(name) {
  const number = facts.classes.indexOf(name);
  return number >= 0 ? number : facts.classes.push(name) - 1;
}

function percent(probability) {
  return probability === null ? "\u2013" : `${(100 * probability).toFixed(probability < 0.0995 ? 1 : 0)} %`;
}

// Seconds as people read them: "7.25", or "1:02:03.50" in a video of a minute or more.
function clock(seconds, duration) {
  const milliseconds = Math.round(1000 * seconds);
  const digits = milliseconds % 10 === 0 ? 2 : 3;
  const whole = Math.floor(milliseconds / 1000);
  const fraction = ((milliseconds % 1000) / 1000).toFixed(digits).slice(1);
  if (duration < 60) return `${whole}${fraction}`;
  const two = (value) => String(value).padStart(2, "0");
  const minutes = Math.floor(whole / 60);
  if (duration < 3600) return `${minutes}:${two(whole % 60)}${fraction}`;
  return `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)}${fraction}`;
}

// Seconds of a text such as "83.2", "83,2" or "1:23.2"; NaN where it is none.
function parseClock(text) {
  const parts = text.trim().replace(",", ".").split(":");
  if (parts.length > 3 || !parts.every((part) => /^\d+(\.\d*)?$|^\.\d+$/.test(part))) return NaN;
  return parts.reduce((seconds, part) => 60 * seconds + Number(part), 0);
}

function newEvent(start, end, label, probability) {
  lastId += 1;
  return {id: lastId, start, end, label, probability};
}

function eventsOf(video) {
  if (video.list === undefined) {
    video.list = (video.events ?? []).map(([start, end, label, probability]) => newEvent(start, end, label, probability));
  }
  return video.list;
}

function sortedByStart(events) {
  return [...events].sort((one, other) => one.start - other.start || one.end - other.end);
}

// Every correction passes through here. `isOneGesture`: it continues a drag, which is undone and stored as a whole.
function correct(video, events, isOneGesture = false) {
  if (!isOneGesture) {
    forgetUndone();
    past.push({video, events: eventsOf(video), isCorrected: Boolean(video.isCorrected)});
  }
  video.list = sortedByStart(events);
  video.isCorrected = true;
  if (!isOneGesture) store();
}

// Saved corrections that are undone stay unsaved, whatever comes after them.
function forgetUndone() {
  if (past.length >= numSaved) return;
  numRestored += numSaved - past.length;
  numSaved = past.length;
}

function replaceEvent(video, event, changes, isOneGesture = false) {
  const changed = {...event, ...changes};
  correct(video, eventsOf(video).map((other) => (other.id === event.id ? changed : other)), isOneGesture);
  if (chosenEvent !== null && chosenEvent.id === event.id) chosenEvent = changed;
  return changed;
}

function numUnsaved() {
  return numRestored + Math.abs(past.length - numSaved);
}

function undoLast() {
  const last = past.pop();
  if (last === undefined) return null;
  last.video.list = last.events;
  last.video.isCorrected = last.isCorrected;
  store();
  return last.video;
}

// Corrections that are not saved survive a reload, where the browser lets a page store anything.
function store() {
  const changed = {};
  videos.forEach((video, number) => {
    if (!video.isCorrected && !video.isChecked) return;
    const events = eventsOf(video).map((event) => [event.start, event.end, nameOf(event.label), event.probability]);
    changed[number] = {events, isCorrected: Boolean(video.isCorrected), isChecked: Boolean(video.isChecked)};
  });
  try {
    if (Object.keys(changed).length === 0) localStorage.removeItem(storageKey);
    else localStorage.setItem(storageKey, JSON.stringify({changed, numUnsaved: numUnsaved()}));
  } catch {
    // A private window, or too many corrections: leaving the page still warns.
  }
}

function restore() {
  let stored = null;
  try {
    stored = JSON.parse(localStorage.getItem(storageKey));
  } catch {
    return;
  }
  if (stored === null) return;
  numRestored = stored.numUnsaved;
  for (const [number, {events, isCorrected, isChecked}] of Object.entries(stored.changed)) {
    const list = events.map(([start, end, name, probability]) => newEvent(start, end, numberOf(name), probability));
    Object.assign(videos[number], {list, isCorrected, isChecked});
  }
}
