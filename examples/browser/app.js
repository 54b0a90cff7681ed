// Classifies a clip with a model that `ulna export` wrote, by onnxruntime-web.
"use strict";

ort.env.wasm.numThreads = 1; // several need headers that a plain file server does not send
ort.env.wasm.wasmPaths = new URL("node_modules/onnxruntime-web/dist/", document.baseURI).href;

const state = { model: null, clip: null, frame: 0 };
const element = (id) => document.getElementById(id);

/** Return what `ulna export` says about a model: the entry "ulna" of the metadata (field 14) of an ONNX file. */
function metadata(bytes) {
  const text = (part) => new TextDecoder().decode(part);
  for (const [field, part] of fields(bytes)) {
    if (field !== 14) continue;
    const entry = new Map(fields(part));
    if (text(entry.get(1)) === "ulna") return JSON.parse(text(entry.get(2)));
  }
  throw new Error("expected a model that `ulna export` wrote, found another file");
}

/** Yield the number and the bytes of each field with a length in a protocol buffer; other fields are skipped. */
function* fields(bytes) {
  let at = 0;
  const number = () => {
    let value = 0, factor = 1, byte;
    do {
      byte = bytes[at++];
      value += (byte & 127) * factor;
      factor *= 128;
    } while (byte > 127);
    return value;
  };
  while (at < bytes.length) {
    const key = number(), kind = key & 7;
    if (kind === 0) number();
    else if (kind === 1) at += 8;
    else if (kind === 5) at += 4;
    else if (kind === 2) {
      const length = number();
      yield [key >>> 3, bytes.subarray(at, at + length)];
      at += length;
    } else throw new Error("expected an ONNX file, found another or a damaged one");
  }
}

/** Return the frames of a CSV table with columns frame, person, joint, x, y (and z), as (T, P, K, 3) for a model. */
function readClip(text, about) {
  const lines = text.trim().split(/\r?\n/).map((line) => line.split(","));
  const column = Object.fromEntries(lines[0].map((name, index) => [name.trim(), index]));
  for (const name of ["frame", "person", "joint", "x", "y"]) {
    if (!(name in column)) throw new Error(`expected a column ${name} in the clip, found ${lines[0].join(", ")}`);
  }
  const rows = lines.slice(1).filter((row) => about.joints.includes(row[column.joint]));
  if (!rows.length) throw new Error(`expected joints such as ${about.joints[0]} in the clip, found none`);
  const people = [...new Set(rows.map((row) => row[column.person]))];
  if (people.length > about.num_persons) {
    throw new Error(`expected at most ${about.num_persons} persons, found ${people.length}`);
  }
  const numbers = rows.map((row) => Number(row[column.frame]));
  const first = numbers.reduce((a, b) => Math.min(a, b)), last = numbers.reduce((a, b) => Math.max(a, b));
  const [frames, persons, joints] = [last - first + 1, about.num_persons, about.joints.length];
  const position = new Float32Array(frames * persons * joints * 3).fill(NaN);
  const place = new Map(about.joints.map((name, index) => [name, index]));
  rows.forEach((row, index) => {
    const at = ((numbers[index] - first) * persons + people.indexOf(row[column.person])) * joints + place.get(row[column.joint]);
    position.set([row[column.x], row[column.y], "z" in column ? row[column.z] : 0].map(Number), 3 * at);
  });
  return { position, frames, persons, joints };
}

async function openModel(bytes) {
  const about = metadata(bytes);
  const session = await ort.InferenceSession.create(bytes);
  state.model = { about, session };
}

async function answer() {
  if (!state.model || !state.text) return;
  const { about, session } = state.model;
  const clip = (state.clip = readClip(state.text, about));
  const start = performance.now();
  const output = await session.run({
    position: new ort.Tensor("float32", clip.position, [1, clip.frames, clip.persons, clip.joints, 3]),
    lengths: new ort.Tensor("int64", BigInt64Array.of(BigInt(clip.frames)), [1]),
  });
  const spent = performance.now() - start;
  const rows = about.classes.map((label, index) => [label, output.probabilities.data[index]]);
  element("classes").replaceChildren(...rows.sort((a, b) => b[1] - a[1]).map(([label, value]) => row(label, value)));
  const what = rows.length ? `Most likely: ${rows[0][0]}.` : `A vector of ${output.embedding.dims[1]} numbers.`;
  say(`${what} ${clip.frames} frames took ${spent.toFixed(0)} ms.`);
  document.body.dataset.result = JSON.stringify({
    embedding: Array.from(output.embedding.data), probabilities: Object.fromEntries(rows),
  });
  element("body").hidden = false;
}

function row(label, value) {
  const line = document.createElement("tr");
  const [name, bar, share] = [0, 1, 2].map(() => line.appendChild(document.createElement("td")));
  name.textContent = label;
  bar.appendChild(document.createElement("div")).className = "bar";
  bar.firstChild.style.width = `${100 * value}%`;
  share.textContent = `${(100 * value).toFixed(1)} %`;
  return line;
}

function say(text, isError = false) {
  element("message").textContent = text;
  element("message").className = isError ? "error" : "";
}

/** Draw the current frame from the front. */
function draw() {
  const { clip, model } = state;
  if (!clip) return;
  const canvas = element("body"), pen = canvas.getContext("2d");
  const size = clip.persons * clip.joints, sign = model.about.dimensions === 2 ? 1 : -1;
  const at = (index) => [clip.position[3 * index], sign * clip.position[3 * index + 1]];
  let low = [Infinity, Infinity], high = [-Infinity, -Infinity];
  for (let index = 0; index < clip.frames * size; index++) {
    at(index).forEach((value, axis) => {
      if (Number.isNaN(value)) return;
      low[axis] = Math.min(low[axis], value);
      high[axis] = Math.max(high[axis], value);
    });
  }
  const scale = 0.9 * canvas.width / Math.max(high[0] - low[0], high[1] - low[1], 1e-6);
  const pixel = (index) => at(index).map((value, axis) => canvas.width / 2 + scale * (value - (low[axis] + high[axis]) / 2));
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.lineWidth = 4;
  pen.lineCap = "round";
  for (let person = 0; person < clip.persons; person++) {
    pen.strokeStyle = ["#2f6f9f", "#c2622d", "#4d8a52", "#7a5ea8"][person % 4];
    const base = state.frame * size + person * clip.joints;
    for (const [one, two] of model.about.bones) {
      const [a, b] = [pixel(base + one), pixel(base + two)];
      if ([...a, ...b].some(Number.isNaN)) continue;
      pen.beginPath();
      pen.moveTo(...a);
      pen.lineTo(...b);
      pen.stroke();
    }
  }
  state.frame = (state.frame + 1) % clip.frames;
}

async function attempt(action) {
  try {
    say("Working ...");
    await action();
    if (!state.model) say("Now choose a model.");
    else if (!state.text) say("Now choose a clip.");
    else await answer();
  } catch (error) {
    say(error.message, true);
  }
}

element("model").addEventListener("change", (event) =>
  attempt(async () => openModel(new Uint8Array(await event.target.files[0].arrayBuffer()))));
element("clip").addEventListener("change", (event) =>
  attempt(async () => { state.text = await event.target.files[0].text(); state.frame = 0; }));
setInterval(draw, 33);

// index.html?model=model.onnx&clip=clip.csv opens files of the server at once.
const asked = new URLSearchParams(location.search);
if (asked.has("model") && asked.has("clip")) {
  attempt(async () => {
    const [model, clip] = await Promise.all(["model", "clip"].map(async (name) => {
      const response = await fetch(asked.get(name));
      if (!response.ok) throw new Error(`expected a file ${asked.get(name)}, found none`);
      return response;
    }));
    await openModel(new Uint8Array(await model.arrayBuffer()));
    state.text = await clip.text();
  });
}
