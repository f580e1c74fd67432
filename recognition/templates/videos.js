// The list of videos, and the one that is chosen.
const PAGE_VIDEOS = 100;
let numListed = PAGE_VIDEOS;
const numNamed = new Map(); // videos with a file of this name
videos.map(fileName).forEach((name) => numNamed.set(name, (numNamed.get(name) ?? 0) + 1));

function isListed(video) {
  const text = byId("list-text").value.trim().toLocaleLowerCase();
  if (text !== "" && !video.name.toLocaleLowerCase().includes(text)) return false;
  const state = byId("list-state").value;
  if (state === "problem") return video.problem !== null;
  if (state === "corrected") return Boolean(video.isCorrected);
  return state === "all" || !video.isChecked;
}

function drawList() {
  const found = videos.filter(isListed);
  byId("list").replaceChildren(...found.slice(0, numListed).map(makeListItem));
  byId("list-more").hidden = found.length <= numListed;
  byId("list-count").textContent = `${found.length} of ${videos.length} videos`;
  byId("videos").hidden = videos.length < 2;
}

function makeListItem(video) {
  const number = videos.indexOf(video);
  const button = element("button", {type: "button"}, element("bdi", {className: "file", textContent: shortName(video)}));
  button.title = video.name;
  button.dataset.video = number;
  const line = element("span", {className: "line"});
  if (video.top !== undefined) {
    const [label, probability] = video.top[0];
    const swatch = element("span", {className: "swatch"});
    swatch.style.background = colourOf(label);
    line.append(swatch, element("bdi", {textContent: nameOf(label)}), ` ${percent(probability)}`);
  }
  if (video.problem !== null) line.append(element("span", {className: "warn", textContent: video.top === undefined ? "failed" : "damaged"}));
  if (video.isCorrected) line.append(element("span", {className: "faint", textContent: "corrected"}));
  if (video.isChecked) line.append(element("span", {className: "faint", textContent: "\u2713 checked"}));
  button.append(line);
  if (video === chosen) button.setAttribute("aria-current", "true");
  button.addEventListener("click", () => {
    chooseVideo(video);
    byId("detail").scrollIntoView({block: "nearest"});
  });
  return element("li", {}, button);
}

function fileName(video) {
  return video.isLive ? video.name : video.path.split("/").pop();
}

// The name of the file, with its folders where other files have the same name.
function shortName(video) {
  const name = fileName(video);
  return numNamed.get(name) > 1 ? video.path : name;
}

function chooseVideo(video, {keepsTable = false} = {}) {
  chosen = video;
  chosenEvent = null;
  zoom = 1;
  byId("name").textContent = video.name;
  byId("problem").hidden = video.problem === null;
  byId("problem").textContent = video.problem ?? "";
  byId("result").hidden = video.top === undefined;
  byId("checked").checked = Boolean(video.isChecked);
  history.replaceState(null, "", `#${videos.indexOf(video) + 1}`);
  showNeighbours();
  markListed();
  showFiles(video);
  showPlayer(video);
  if (video.top !== undefined) {
    timeline.scrollLeft = 0;
    drawTop(video);
    drawTimeline();
  }
  if (!keepsTable) {
    numRows = PAGE_ROWS;
    drawLabels();
    drawEventTable();
  }
  showState();
}

function showFiles(video) {
  const links = [];
  if (video.json) {
    links.push(element("a", {href: video.src, textContent: "annotated video"}), " \u00b7 ");
    links.push(element("a", {href: video.json, textContent: "predictions (JSON)"}));
  } else if (video.src) {
    links.push(element("a", {href: video.src, textContent: "the video"}));
  }
  byId("files").replaceChildren(...links);
}

function drawTop(video) {
  byId("top-list").replaceChildren(...video.top.slice(0, 10).map(([label, probability], number) => {
    const bar = element("span", {className: "bar"});
    bar.style.width = `${100 * (probability ?? 0)}%`;
    bar.style.background = colourOf(label);
    const item = element("li", {}, element("bdi", {textContent: nameOf(label)}), element("span", {className: "number", textContent: percent(probability)}));
    item.append(element("span", {className: "track"}, bar));
    item.addEventListener("pointerenter", () => emphasise(label));
    item.addEventListener("pointerleave", () => emphasise(null));
    if (number < video.curves.length && dashOf(number) !== "none") item.classList.add("dashed");
    return item;
  }));
}

function emphasise(label) {
  for (const curve of drawing.querySelectorAll(".curve")) {
    curve.classList.toggle("pale", label !== null && Number(curve.dataset.label) !== label);
  }
}

function markListed() {
  for (const button of byId("list").querySelectorAll("button")) {
    if (videos[button.dataset.video] === chosen) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
}

function showNeighbours() {
  const number = videos.indexOf(chosen);
  byId("previous-video").disabled = number <= 0;
  byId("next-video").disabled = number >= videos.length - 1;
  byId("previous-video").hidden = byId("next-video").hidden = videos.length < 2;
}

function stepVideo(step) {
  chooseVideo(videos[videos.indexOf(chosen) + step]);
}

byId("previous-video").addEventListener("click", () => stepVideo(-1));
byId("next-video").addEventListener("click", () => stepVideo(1));
byId("list-text").addEventListener("input", () => {
  numListed = PAGE_VIDEOS;
  drawList();
});
byId("list-state").addEventListener("change", () => {
  numListed = PAGE_VIDEOS;
  drawList();
});
byId("list-more").addEventListener("click", () => {
  numListed += PAGE_VIDEOS;
  drawList();
});
byId("checked").addEventListener("change", () => {
  chosen.isChecked = byId("checked").checked;
  store();
  showState();
});
