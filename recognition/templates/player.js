// The player. Where a video cannot be played, the position alone moves, and events can be corrected all the same.
const player = byId("player");
let position = 0; // seconds
let part = null; // {start, end} of the event that is being played

function showPlayer(video) {
  part = null;
  position = 0;
  player.pause();
  byId("no-player").hidden = true;
  player.hidden = false;
  player.setAttribute("aria-label", video.name);
  if (typeof video.src === "string") {
    player.src = video.src;
  } else {
    player.removeAttribute("src");
    player.load();
    explainNoPlayer("Nothing can be played: inference.py has written no video of this source.");
  }
}

function explainNoPlayer(text) {
  player.hidden = true;
  byId("no-player").textContent = text;
  byId("no-player").hidden = false;
}

function explainFailure() {
  const file = decodeURIComponentLoosely(chosen.src.split("/").pop());
  if (chosen.json !== null) {
    explainNoPlayer(`${file} cannot be played: it is no longer beside this page, or this browser plays no H.264.`);
  } else {
    explainNoPlayer(`${file} cannot be played: browsers play few formats, MP4 with H.264 and WebM among them, and the`
      + " file must lie where it was. Without --no-video inference.py writes an annotated copy that plays.");
  }
}

function decodeURIComponentLoosely(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a name of bytes that are no text
  }
}

function canPlay() {
  return !player.hidden;
}

function seek(seconds) {
  position = Math.min(Math.max(0, seconds), chosen.duration);
  if (canPlay()) player.currentTime = position;
  showPosition();
}

function playEvent(event) {
  part = null;
  seek(event.start);
  if (!canPlay()) return;
  part = {start: event.start, end: event.end};
  player.play().catch(() => {}); // it was paused again before it began
}

function togglePlay() {
  part = null;
  if (!canPlay()) return;
  if (player.paused) player.play().catch(() => {});
  else player.pause();
}

function showPosition() {
  byId("clock").textContent = `${clock(Math.round(100 * position) / 100, chosen.duration)} / ${clock(chosen.duration, chosen.duration)} s`;
  drawPlayhead();
}

function followPlayer() {
  if (part !== null && player.currentTime >= part.end) {
    const end = part.end;
    part = null;
    player.pause();
    player.currentTime = end;
  }
  if (chosen !== null && canPlay() && player.readyState > 0 && player.currentTime !== position) {
    position = player.currentTime;
    showPosition();
  }
  if (!player.paused) requestAnimationFrame(followPlayer);
}

player.addEventListener("error", () => {
  if (player.error !== null && player.hasAttribute("src")) explainFailure(); // not of the video before
});
player.addEventListener("loadedmetadata", () => {
  if (player.videoWidth === 0) explainFailure(); // its sound alone could be played
  else if (position > 0 && Math.abs(player.currentTime - position) > 0.001) player.currentTime = position;
});
player.addEventListener("play", () => {
  byId("play").textContent = "Pause";
  requestAnimationFrame(followPlayer);
});
player.addEventListener("pause", () => {
  byId("play").textContent = "Play";
  followPlayer();
});
player.addEventListener("seeked", followPlayer);
player.addEventListener("seeking", () => {
  const time = player.currentTime;
  if (part !== null && (time < part.start - 0.1 || time > part.end)) part = null;
});
