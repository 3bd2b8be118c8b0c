// Upload: many files or folders, a few at a time, each followed until it is clear what became of it.

import { pause } from "./api.js";
import { button, h, heading } from "./dom.js";
import { picture } from "./picture.js";
import { ANIMALS, bytes, count, outcome, when } from "./words.js";

const AT_ONCE = 3;
const TRIES = 3;
const MAX_BYTES = 15 * 1024 * 1024;
const FINAL = ["completed", "needs_review", "rejected", "held", "failed"];

// The files of this tab, whichever view is shown: {file, key, state, ...}. state: waiting, sending, looking, done, stopped.
const items = [];
let running = 0, polling = false, api, view;

addEventListener("beforeunload", (event) => { if (items.some(({ state }) => state === "waiting" || state === "sending")) event.preventDefault(); });
addEventListener("dragover", (event) => event.preventDefault()); // elsewhere than on the target a file would replace the page
addEventListener("drop", async (event) => {
  event.preventDefault();
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile()).filter(Boolean);
  const files = (await Promise.all(entries.map(filesOf))).flat();
  if (!files.length) return;
  if (!view) location.hash = "#/upload";
  add(files);
});

export function mount(element, context) {
  api = context.api;
  const canDrop = matchMedia("(pointer: fine)").matches;
  const zone = h("div", { class: "drop" },
    h("p", { class: "large" }, canDrop ? "Drop pictures or folders here" : "Send pictures"),
    h("div", { class: "row" }, chooser("Choose pictures", { accept: "image/*,.heic,.heif,.avif,.webp" }, "primary"),
      canDrop && chooser("Choose a folder", { webkitdirectory: true })),
    h("p", { class: "muted small" }, "JPEG, PNG, WebP, AVIF or HEIC, up to 15 MB each, as many as you like. Place and camera data are removed."));
  for (const [name, on] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
    zone.addEventListener(name, () => zone.classList.toggle("over", on));
  }
  view = { context, sum: h("div", { class: "sum" }), list: h("ul", { class: "uploads" }) };
  element.append(heading("Upload"), zone, view.sum, view.list);
  items.forEach(show);
  sum();
  return () => { view = null; };
}

function chooser(text, attributes, kind) {
  const input = h("input", { type: "file", multiple: true, hidden: true, ...attributes, onchange: () => { add([...input.files]); input.value = ""; } });
  return [button(text, () => input.click(), kind), input];
}

/** All files of what was dropped. A folder gives its entries in parts of 100. */
async function filesOf(entry) {
  if (entry instanceof File) return [entry];
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader(), all = [];
  for (let part; (part = await new Promise((resolve, reject) => reader.readEntries(resolve, reject))).length;) all.push(...part);
  return (await Promise.all(all.map(filesOf))).flat();
}

function add(files) {
  for (const file of files) {
    const item = { file, key: crypto.randomUUID(), state: "waiting", told: "Its turn comes: three are sent at a time.", row: h("li", { class: "file" }) };
    items.push(item);
    show(item);
  }
  sum();
  pump();
}

function pump() {
  for (let item; running < AT_ONCE && (item = items.find(({ state }) => state === "waiting"));) {
    running++;
    set(item, { state: "sending", sent: 0, told: "" });
    send(item)
      .then((imageId) => set(item, imageId ? { state: "looking", imageId, asked: 0, at: Date.now() + 700 } : {}),
        (error) => set(item, { state: "stopped", told: error.message, retry: true }))
      .finally(() => { running--; pump(); poll(); });
  }
}

/** Resolves to the image's id, or to nothing when the file was refused here. */
async function send(item) {
  const { file, key } = item, contentType = await typeOf(file);
  const no = !file.size ? "The file is empty, so it was not sent." : !contentType ? "This is not a picture, so it was not sent."
    : file.size > MAX_BYTES && `It has ${bytes(file.size)}; at most 15 MB can be looked at, so it was not sent.`;
  if (no) return void set(item, { state: "stopped", told: no });
  const body = { fileName: file.name.slice(0, 255), contentType };
  for (let attempt = 1; ; attempt++) {
    try {
      // The same key: when the form of the last attempt did arrive, the answer has no other one.
      const { imageId, upload } = await api.request("POST", "/people/upload", { body, headers: { "Idempotency-Key": key } });
      if (upload) await post(upload, file, (share) => set(item, { sent: share }));
      return imageId;
    } catch (error) {
      if (attempt === TRIES || (error.status >= 400 && error.status < 500 && error.status !== 429)) throw error;
      await pause(2000 * attempt);
    }
  }
}

/** Sends the form. fetch() tells no progress. */
function post({ url, fields }, file, progress) {
  return new Promise((resolve, reject) => {
    const form = new FormData(), request = new XMLHttpRequest();
    for (const [name, value] of Object.entries(fields)) form.append(name, value);
    form.append("file", file);
    request.upload.onprogress = ({ loaded, total }) => progress(loaded / total);
    request.onload = () => {
      if (request.status < 300) return resolve();
      const code = /<Code>(\w+)/.exec(request.responseText)?.[1];
      const words = { EntityTooLarge: "It is too large: at most 15 MB can be looked at.", EntityTooSmall: "The file is empty." }[code];
      reject(Object.assign(new Error(words ?? `The picture did not get through (${code ?? request.status}).`), { status: words && 400 }));
    };
    request.onerror = request.ontimeout = () => reject(new Error("The picture did not get through. See whether you are online."));
    request.timeout = 240_000; // the form lives 5 minutes
    request.open("POST", url);
    request.send(form);
  });
}

/** By the first bytes, as a name may lie; what only claims to be a picture is left to the service. */
async function typeOf(file) {
  const head = String.fromCharCode(...new Uint8Array(await file.slice(0, 12).arrayBuffer()));
  if (head.startsWith("\xff\xd8\xff")) return "image/jpeg";
  if (head.startsWith("\x89PNG")) return "image/png";
  if (/^RIFF....WEBP/s.test(head)) return "image/webp";
  if (/^....ftypavi[fs]/s.test(head)) return "image/avif";
  if (/^....ftyp(hei|hev|mif|msf)/s.test(head)) return "image/heic";
  return file.type.startsWith("image/") && file.type;
}

/** Asks for each picture until its state is final, less often with time. */
async function poll() {
  if (polling) return;
  polling = true;
  for (let open; (open = items.filter(({ state }) => state === "looking")).length;) {
    await Promise.all(open.filter(({ at }) => at <= Date.now()).slice(0, 6).map(look));
    await pause(300);
  }
  polling = false;
}

async function look(item) {
  try {
    const image = await api.request("GET", `/people/images/${item.imageId}`);
    if (FINAL.includes(image.status)) return set(item, { state: "done", image });
    const pace = Math.min(700 * 1.4 ** item.asked, 8000);
    set(item, { asked: item.asked + 1, at: Math.max(Date.now() + pace, Date.parse(image.turnAt) || 0),
      told: image.turnAt ? `Many pictures came at once: its turn is at ${when(image.turnAt)}.` : item.asked > 6 ? "This takes longer than usual. It goes on by itself." : "" });
  } catch (error) {
    set(item, { at: Date.now() + 8000, told: `${error.message} It is asked again by itself.` });
  }
}

function set(item, change) {
  const before = item.state;
  Object.assign(item, change);
  if (item.state === before && item.state === "sending" && item.row.bar) item.row.bar.value = item.sent;
  else show(item);
  if (item.state !== before) sum();
}

function show(item) {
  const { file, state, image, row, told } = item;
  const { kind, text } = image ? outcome(image) : { waiting: { text: "Waits" }, sending: { text: "Being sent" }, looking: { text: "Being looked at" }, stopped: { kind: "failed", text: item.retry ? "Not sent" : "Refused" } }[state];
  row.bar = state === "sending" && h("progress", { max: 1, value: item.sent, "aria-label": `${file.name}: sent` });
  row.replaceChildren(
    image?.viewUrl ? picture(api, image.imageId, { url: image.viewUrl }) : h("span", { class: "picture none" }),
    h("div", {},
      image ? h("a", { href: `#/gallery/${image.imageId}` }, file.name) : h("span", {}, file.name),
      h("span", { class: "muted small" }, ` ${bytes(file.size)}`),
      row.bar || h("p", { class: "small muted" }, image?.reason ?? told)),
    h("span", { class: "pill", "data-kind": kind }, text),
    item.retry && state === "stopped" ? button("Try again", () => { again(item); pump(); }, "", { "aria-label": `Try again: ${file.name}` }) : "");
  if (view && row.parentNode !== view.list) view.list.append(row);
}

const again = (item) => set(item, { state: "waiting", retry: false, told: "" });

function sum() {
  if (!view) return;
  const of = (test) => items.filter(test).length, done = of(({ state }) => state === "done" || state === "stopped");
  const parts = [
    ...Object.entries(ANIMALS).map(([animal, word]) => [of(({ image }) => image?.status === "completed" && image.animal === animal), word.toLowerCase()]),
    [of(({ image }) => image?.status === "needs_review"), "not sure"],
    [of(({ image, state, retry }) => image?.status === "rejected" || (state === "stopped" && !retry)), "refused"],
    [of(({ image }) => image?.status === "held"), "for another day"],
    [of(({ image, retry }) => image?.status === "failed" || retry), "failed"],
  ].filter(([n]) => n).map(([n, word]) => `${n} ${word}`);
  const text = `${done} of ${count(items.length, "picture")} done${parts.length ? `: ${parts.join(", ")}` : ""}.`;
  const failed = items.filter(({ retry, state }) => retry && state === "stopped");
  view.sum.replaceChildren(...(items.length ? [h("p", {}, h("strong", {}, text)),
    h("progress", { max: items.length, value: done, "aria-label": "All pictures" }),
    failed.length > 1 && button(`Try all ${failed.length} again`, () => { failed.forEach(again); pump(); })].filter(Boolean)
    : [h("p", { class: "muted" }, "Nothing sent yet. What you choose appears here, with what became of it.")]));
  if (items.length) view.context.announce(text);
}
