function videoOfAddress() {
  const number = Number(location.hash.slice(1));
  return videos[number - 1] ?? videos[0];
}

function begin() {
  const failed = videos.filter((video) => video.top === undefined).length;
  const count = videos.length === 1 ? "1 video" : `${videos.length} videos`;
  byId("summary").textContent = `${count}${failed > 0 ? `, ${failed} failed` : ""} \u00b7`;
  byId("folder").value = facts.folder ?? "";
  restore();
  chooseVideo(videoOfAddress());
}

byId("play").addEventListener("click", () => togglePlay());
byId("zoom-in").addEventListener("click", () => setZoom(zoom * 2));
byId("zoom-out").addEventListener("click", () => setZoom(zoom / 2));
byId("zoom-fit").addEventListener("click", () => setZoom(1));
window.addEventListener("hashchange", () => {
  if (/^#\d+$/.test(location.hash) && videoOfAddress() !== chosen) chooseVideo(videoOfAddress());
});
document.addEventListener("keydown", (key) => {
  const isText = key.target.matches("input[type=text], input[type=search], input[type=number]");
  if ((key.ctrlKey || key.metaKey) && key.key.toLowerCase() === "z" && !isText) {
    key.preventDefault();
    undo();
  }
});
begin();
