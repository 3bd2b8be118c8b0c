// A picture by its short-lived link (viewUrl, 5 minutes): asked for when it comes into sight, and again when it has ended.

import { h } from "./dom.js";

const AT_ONCE = 4;
let running = 0;
const queue = [];
const seen = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    seen.unobserve(target);
    queue.push(target);
  }
  next();
}, { rootMargin: "300px" });

function next() {
  while (running < AT_ONCE && queue.length) {
    running++;
    queue.shift().ask().finally(() => { running--; next(); });
  }
}

/** An image of the service. `url` is its link, when it is known already. */
export function picture(api, imageId, { alt = "", url } = {}) {
  let asked = 0;
  const img = h("img", { alt, class: "picture", decoding: "async",
    onerror: () => (asked < 2 ? img.ask() : img.replaceWith(h("span", { class: "picture none" }, "No picture"))) });
  img.ask = async () => {
    asked++;
    const image = await api.request("GET", `/people/images/${imageId}`).catch(() => ({}));
    if (image.viewUrl) img.src = image.viewUrl;
    else img.replaceWith(h("span", { class: "picture none" }, "No picture"));
  };
  if (url) img.src = url;
  else seen.observe(img);
  return img;
}
