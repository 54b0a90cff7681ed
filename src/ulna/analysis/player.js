// Code shared by the pages that play clips. A page defines DATA, `state` (clip, frame, running, angle, ...) and `paint`.
const $ = (id) => document.getElementById(id);
const style = getComputedStyle(document.documentElement);
const colour = (name) => style.getPropertyValue(name).trim();
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const clip = () => DATA.clips[state.clip];
const now = () => Math.floor(state.frame);
for (const own of DATA.clips) own.frames = own.persons[0].length;
// Clears a canvas and sets it to the screen's resolution; its height is `ratio` times its width, or as styled if omitted.
function sized(canvas, ratio) {
  const w = Math.round(canvas.clientWidth * devicePixelRatio), h = Math.round(ratio ? w * ratio : canvas.clientHeight * devicePixelRatio);
  if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; if (ratio) canvas.style.aspectRatio = 1 / ratio; }
  const g = canvas.getContext("2d"); g.clearRect(0, 0, w, h); return [g, w, h];
}
// Draws the bones of all persons in this frame and calls `joints(row, unseen, i, place)` for each; `place(row, k)` returns the position of joint k.
function drawBones(g, w, joints) {
  const c = clip(), f = now(), scale = w * .72 / Math.max(c.extent, 1200), cos = Math.cos(state.angle), sin = Math.sin(state.angle);
  const place = (row, k) => [w / 2 + (row[3 * k] * cos + row[3 * k + 2] * sin) * scale, w * .41 - (row[3 * k + 1] + .12 * (row[3 * k + 2] * cos - row[3 * k] * sin)) * scale];
  g.lineCap = "round";
  c.persons.forEach((rows, i) => {
    const row = rows[f], unseen = c.unseen[i][f];
    g.strokeStyle = colour("--bone"); g.lineWidth = w / 130; g.globalAlpha = 1;
    for (const [k, parent] of DATA.bones) {
      if (unseen.includes(k) || unseen.includes(parent)) continue;
      g.beginPath(); g.moveTo(...place(row, k)); g.lineTo(...place(row, parent)); g.stroke();
    }
    joints(row, unseen, i, place);
  });
}
function showFrame() { $("frame").max = clip().frames - 1; $("frame").value = now(); $("now").textContent = `frame ${now() + 1} of ${clip().frames}`; }
function setRunning(on) { state.running = on; $("play").textContent = on ? "pause" : "play"; }
function halt(frame) { state.frame = frame; setRunning(false); paint(); }
// Connects the controls and starts playback, after setting the state given in the URL (#frame=12&...). `tap(x, y)` is called on clicks on the body.
function start(tap = () => {}) {
  $("title").textContent = `${DATA.run} · ${DATA.recipe}`;
  DATA.clips.forEach((own, i) => $("clip").append(new Option(`${DATA.classes[own.label] ?? "no label"} (${own.id})`, i)));
  for (const [name, value] of new URLSearchParams(location.hash.slice(1))) if (name in state) { state[name] = +value; if (name === "frame") setRunning(false); }
  $("clip").value = state.clip;
  $("clip").onchange = (e) => { state.clip = +e.target.value; state.frame = 0; paint(); };
  $("frame").oninput = (e) => halt(+e.target.value);
  $("play").onclick = () => setRunning(!state.running);
  let from = null, moved = 0, before = null;
  $("body").addEventListener("pointerdown", (e) => { from = e.clientX; moved = 0; $("body").setPointerCapture(e.pointerId); });
  $("body").addEventListener("pointermove", (e) => { if (from !== null && DATA.dimensions !== 2) { state.angle += (e.clientX - from) / 110; moved += Math.abs(e.clientX - from); from = e.clientX; paint(); } });
  $("body").addEventListener("pointerup", (e) => { from = null; if (moved < 4) tap(e.offsetX * devicePixelRatio, e.offsetY * devicePixelRatio); });
  addEventListener("resize", paint);
  requestAnimationFrame(function tick(time) {
    const passed = before === null ? 0 : Math.min(time - before, 100) / 1000; before = time;
    if (state.running) { state.frame = (state.frame + passed * Math.min(15, clip().fps / 2)) % clip().frames; paint(); }
    requestAnimationFrame(tick);
  });
  paint();
}
