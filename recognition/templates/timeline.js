// The timeline: events in lanes, the windows, the curves of the likeliest classes, and an axis. It draws the part
// that is in view; the space around the drawing scrolls.
const timeline = byId("timeline");
const drawing = byId("drawing");
const LANE = 28; // pixels high
const MAX_LANES = 5;
const WINDOWS = 12;
const CURVES = 110;
const AXIS = 20;
const GAP = 8;
const HANDLE = 10; // pixels wide
const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];
const MAX_PIXELS_PER_SECOND = 400;
const SHORTEST = 0.01; // seconds that a dragged event keeps
const view = {width: 1, left: 0}; // pixels
let zoom = 1;
let drag = null; // {event, side, isFirst}
let wasDragged = false;

function svg(tag, attributes, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

const fullWidth = () => view.width * zoom;
const toX = (seconds) => (seconds / chosen.duration) * fullWidth() - view.left;
const toSeconds = (x) => ((x + view.left) / fullWidth()) * chosen.duration;

// Asking the page where it has scrolled to is slow, so it is asked once a drawing.
function readView() {
  view.width = Math.max(1, timeline.clientWidth);
  byId("timeline-space").style.width = `${fullWidth()}px`;
  view.left = timeline.scrollLeft;
}

// Events that overlap lie in lanes of their own: the lane of each event in order, and how many there are.
function assignLanes(events) {
  const ends = [];
  const lanes = events.map((event) => {
    let lane = ends.findIndex((end) => end <= event.start + 0.0005);
    if (lane < 0) lane = Math.min(ends.length, MAX_LANES - 1);
    ends[lane] = event.end;
    return lane;
  });
  return {lanes, count: Math.max(1, ends.length)};
}

function drawTimeline() {
  if (chosen === null || chosen.duration === undefined) return;
  const events = eventsOf(chosen);
  const {lanes, count} = assignLanes(events);
  const top = count * LANE + GAP;
  const height = top + WINDOWS + GAP + CURVES + AXIS;
  readView();
  drawing.setAttribute("width", view.width);
  drawing.setAttribute("height", height);
  drawing.setAttribute("viewBox", `0 0 ${view.width} ${height}`);
  byId("layers").replaceChildren(
    ...drawWindows(top),
    ...drawCurves(top + WINDOWS + GAP),
    ...drawAxis(top, height),
    ...drawEvents(events, lanes),
  );
  showPosition();
}

// Of events narrower than a pixel the first one in each pixel is drawn.
function drawEvents(events, lanes) {
  const nodes = [];
  const last = [];
  const lastPixels = [];
  events.forEach((event, number) => {
    const left = toX(event.start);
    const right = toX(event.end);
    if (right < -20 || left > view.width + 20) return;
    const isTiny = right - left < 1;
    if (isTiny && Math.floor(left) === lastPixels[lanes[number]]) return;
    lastPixels[lanes[number]] = Math.floor(left);
    const node = drawEvent(event, left, Math.max(1, right - left), lanes[number] * LANE);
    if (event.id === chosenEvent?.id) last.push(node); // so that its ends can be caught
    else nodes.push(node);
  });
  return [...nodes, ...last];
}

function drawEvent(event, left, width, top) {
  const isChosen = chosenEvent !== null && chosenEvent.id === event.id;
  const group = svg("g", {class: isChosen ? "event chosen" : "event", "data-event": event.id});
  const title = `${nameOf(event.label)}, ${clock(event.start, chosen.duration)} to ${clock(event.end, chosen.duration)} s`;
  group.append(svg("title", {}, title));
  const box = {x: left, y: top + 1, width, height: LANE - 4, rx: Math.min(4, width / 3)};
  group.append(svg("rect", {...box, fill: colourOf(event.label)}));
  const visible = Math.max(0, left);
  const letters = Math.floor((Math.min(view.width, left + width) - visible - 14) / 8);
  if (letters >= 2) {
    const name = nameOf(event.label);
    const text = name.length > letters ? `${name.slice(0, letters - 1)}\u2026` : name;
    group.append(svg("text", {x: visible + 8, y: top + LANE / 2 + 4}, text));
  }
  if (width >= 3 * HANDLE || isChosen) {
    const outside = isChosen && width < 3 * HANDLE ? HANDLE : 0;
    const handle = {y: top, width: HANDLE, height: LANE - 2, class: "handle"};
    group.append(svg("rect", {...handle, x: left - outside, "data-side": "start"}));
    group.append(svg("rect", {...handle, x: left + width - HANDLE + outside, "data-side": "end"}));
  }
  return group;
}

// One path a colour, so that thousands of windows are a few nodes.
function drawWindows(top) {
  const paths = new Map();
  const {starts, ends, labels} = chosen;
  for (let i = 0; i < starts.length; i += 1) {
    const left = toX(starts[i]);
    const right = toX(ends[i]);
    if (right < 0 || left > view.width) continue;
    const width = right - left > 8 ? right - left - 1 : right - left + 0.6; // wide ones are set apart
    const colour = colourOf(labels[i]);
    paths.set(colour, `${paths.get(colour) ?? ""}M${left.toFixed(1)} ${top}h${width.toFixed(1)}v${WINDOWS}h${(-width).toFixed(1)}z`);
  }
  return Array.from(paths, ([fill, d]) => svg("path", {d, fill, class: "windows"}));
}

function drawCurves(top) {
  return chosen.curves.flatMap((curve, number) => {
    const label = chosen.top[number][0];
    const d = curvePath(curve, top);
    const line = {d, stroke: colourOf(label), "stroke-dasharray": dashOf(number), class: "curve", "data-label": label};
    const path = svg("path", line);
    path.append(svg("title", {}, nameOf(label)));
    return [svg("path", {d, class: "halo"}), path];
  });
}

// Two classes of one colour differ by their dashes.
function dashOf(number) {
  const colours = chosen.top.slice(0, number).filter(([label]) => colourOf(label) === colourOf(chosen.top[number][0]));
  return ["none", "6 3", "2 3"][Math.min(2, colours.length)];
}

function curvePath(curve, top) {
  const {starts, ends} = chosen;
  const y = (value) => (top + (1 - value) * CURVES).toFixed(1);
  let path = "";
  let isOpen = false;
  for (let i = 0; i < curve.length; i += 1) {
    const isGap = i > 0 && starts[i] > ends[i - 1] + 0.01;
    const isSeen = toX(ends[Math.min(curve.length - 1, i + 1)]) >= 0 && toX(starts[Math.max(0, i - 1)]) <= view.width;
    if (isOpen && isGap) path += `H${toX(ends[i - 1]).toFixed(1)}`;
    if (isGap || curve[i] === null || !isSeen) isOpen = false;
    if (curve[i] === null || !isSeen) continue;
    const x = toX((starts[i] + ends[i]) / 2).toFixed(1);
    path += isOpen ? `L${x} ${y(curve[i])}` : `M${toX(starts[i]).toFixed(1)} ${y(curve[i])}H${x}`;
    isOpen = true;
  }
  return isOpen ? `${path}H${toX(ends[ends.length - 1]).toFixed(1)}` : path;
}

function drawAxis(windowsTop, height) {
  const top = windowsTop + WINDOWS + GAP;
  const nodes = [0, 0.5, 1].flatMap((value) => {
    const y = top + (1 - value) * CURVES;
    return [
      svg("line", {x1: 0, x2: view.width, y1: y, y2: y, class: "grid"}),
      svg("text", {x: view.width - 4, y: y + (value === 0 ? -3 : 12), class: "tick", "text-anchor": "end"}, `${100 * value} %`),
    ];
  });
  const pixelsPerSecond = fullWidth() / chosen.duration;
  const step = STEPS.find((seconds) => seconds * pixelsPerSecond >= 80) ?? 2 * STEPS[STEPS.length - 1];
  const last = Math.min(chosen.duration, toSeconds(view.width));
  for (let i = Math.ceil(toSeconds(0) / step); i * step <= last + 1e-6; i += 1) {
    const x = toX(i * step);
    nodes.push(svg("line", {x1: x, x2: x, y1: top + CURVES, y2: top + CURVES + 4, class: "grid"}));
    const anchor = i === 0 ? "start" : x > view.width - 20 ? "end" : "middle";
    nodes.push(svg("text", {x, y: height - 3, class: "tick", "text-anchor": anchor}, clock(i * step, chosen.duration).replace(step < 1 ? /0$/ : /\.00$/, "")));
  }
  return nodes;
}

function drawPlayhead() {
  const x = toX(position);
  const line = svg("line", {x1: x, x2: x, y1: 0, y2: Number(drawing.getAttribute("height")) - AXIS});
  byId("playhead").replaceChildren(line);
  timeline.setAttribute("aria-valuemax", chosen.duration);
  timeline.setAttribute("aria-valuenow", position.toFixed(2));
  const event = eventsOf(chosen).find(({start, end}) => start <= position && position < end);
  const label = event === undefined ? "no event" : nameOf(event.label);
  timeline.setAttribute("aria-valuetext", `${clock(position, chosen.duration)} seconds, ${label}`);
}

function setZoom(value) {
  const most = Math.max(1, (chosen.duration * MAX_PIXELS_PER_SECOND) / view.width);
  zoom = Math.min(Math.max(1, value), most);
  readView();
  timeline.scrollLeft = (position / chosen.duration) * fullWidth() - view.width / 2;
  drawTimeline();
}

function bringIntoView(seconds) {
  const x = toX(seconds);
  if (x < 0 || x > view.width) timeline.scrollLeft += x - view.width / 2;
}

function startDrag(pointer) {
  const side = pointer.target.dataset?.side;
  if (side === undefined || pointer.button !== 0) return;
  pointer.preventDefault();
  timeline.focus({preventScroll: true});
  const id = Number(pointer.target.closest("[data-event]").dataset.event);
  drawing.setPointerCapture(pointer.pointerId);
  drag = {event: eventsOf(chosen).find((event) => event.id === id), side, from: pointer.clientX, hasMoved: false};
}

function moveDrag(pointer) {
  if (drag === null || (!drag.hasMoved && Math.abs(pointer.clientX - drag.from) < 2)) return;
  const seconds = toSeconds(pointer.clientX - drawing.getBoundingClientRect().left);
  drag.event = moveBorder(drag.event, drag.side, seconds, drag.hasMoved);
  drag.hasMoved = true;
  chooseEvent(drag.event);
  seek(drag.event[drag.side]);
}

function endDrag() {
  wasDragged = drag !== null && drag.hasMoved;
  drag = null;
  if (!wasDragged) return;
  store();
  showState();
}

// Moves a border as far as the other one and the video allow.
function moveBorder(event, side, seconds, isOneGesture = false) {
  const low = side === "start" ? 0 : event.start + SHORTEST;
  const high = side === "start" ? event.end - SHORTEST : chosen.duration;
  const rounded = Math.round(1000 * Math.min(Math.max(low, seconds), high)) / 1000;
  if (rounded === event[side]) return event;
  const changed = replaceEvent(chosen, event, {[side]: rounded}, isOneGesture);
  showCorrection(changed);
  return changed;
}

drawing.addEventListener("pointerdown", startDrag);
drawing.addEventListener("pointermove", moveDrag);
drawing.addEventListener("pointerup", endDrag);
drawing.addEventListener("pointercancel", endDrag);
drawing.addEventListener("click", (click) => {
  if (wasDragged) {
    wasDragged = false;
    return;
  }
  const group = click.target.closest("[data-event]");
  if (group !== null) chooseEvent(eventsOf(chosen).find((event) => event.id === Number(group.dataset.event)));
  part = null;
  seek(toSeconds(click.clientX - drawing.getBoundingClientRect().left));
});
drawing.addEventListener("dblclick", (click) => {
  if (click.target.closest("[data-event]") !== null && chosenEvent !== null) playEvent(chosenEvent);
});
timeline.addEventListener("scroll", drawTimeline);
new ResizeObserver(drawTimeline).observe(timeline);

function stepEvent(direction) {
  const events = eventsOf(chosen);
  const next = chosenEvent === null
    ? (direction > 0 ? events.findIndex(({start}) => start >= position) : events.findLastIndex(({start}) => start <= position))
    : events.findIndex(({id}) => id === chosenEvent.id) + direction;
  const event = events[next];
  if (event === undefined) return;
  chooseEvent(event);
  seek(event.start);
  bringIntoView(event.start);
}

const KEYS = {
  ArrowLeft: (key) => seek(position - (key.shiftKey ? 1 : 0.1)),
  ArrowRight: (key) => seek(position + (key.shiftKey ? 1 : 0.1)),
  Home: () => seek(0),
  End: () => seek(chosen.duration),
  " ": togglePlay,
  Enter: () => (chosenEvent === null ? togglePlay() : playEvent(chosenEvent)),
  ArrowUp: () => stepEvent(-1),
  ArrowDown: () => stepEvent(1),
  "[": () => chosenEvent && moveBorder(chosenEvent, "start", position),
  "]": () => chosenEvent && moveBorder(chosenEvent, "end", position),
  n: addEvent,
  Delete: () => chosenEvent && removeEvent(chosen, chosenEvent),
  "+": () => setZoom(zoom * 2),
  "-": () => setZoom(zoom / 2),
  0: () => setZoom(1),
};

timeline.addEventListener("keydown", (key) => {
  if (key.ctrlKey || key.metaKey || key.altKey) return;
  const action = KEYS[key.key.length === 1 ? key.key.toLowerCase() : key.key];
  if (action === undefined) return;
  key.preventDefault();
  action(key);
  if (key.key.startsWith("Arrow")) bringIntoView(position);
});
