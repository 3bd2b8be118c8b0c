// The shell: signs in, shows the views that a person's groups allow, and moves the focus between them.

import { Api } from "./api.js";
import { button, dialog, h, heading, problem } from "./dom.js";
import { Session } from "./session.js";

const PAGE = new URL("./", import.meta.url).href; // all addresses are relative to where the page came from
const STAGE = new URL("../", PAGE);

const VIEWS = {
  upload: { title: "Upload", right: "upload", load: () => import("./upload.js") },
  gallery: { title: "Gallery", right: "see", load: () => import("./gallery.js") },
  review: { title: "Review", right: "review", load: () => import("./review.js") },
  figures: { title: "Figures", right: "review", load: () => import("./figures.js") },
  policy: { title: "Policy", right: "policy", load: () => import("./policy.js") },
};

const place = (id) => document.getElementById(id);
const main = place("main");
let session, context, unmount, shown, isLeaving = false;

// The first of its listeners: who said here that they want to leave is not asked by the browser, too.
addEventListener("beforeunload", (event) => isLeaving && event.stopImmediatePropagation());

start().catch((error) => main.replaceChildren(heading("Pet Detector"), problem(error, () => location.reload())));

async function start() {
  const answer = await fetch(new URL("config.json", PAGE)).catch(() => null);
  if (!answer?.ok) throw new Error("The service does not answer. See whether you are online, then try again.");
  const config = await answer.json();
  session = new Session(config, PAGE);
  let error;
  try {
    const after = await session.comeBack();
    if (after) history.replaceState(null, "", PAGE + after);
  } catch (failed) {
    error = failed;
  }
  if (error || !session.person) return welcome(config, error); // a window beside has a copy of the tab's tokens
  place("skip").addEventListener("click", (event) => { event.preventDefault(); focusOn(main.querySelector("h1") ?? main); });
  session.addEventListener("needed", askToSignIn);
  session.addEventListener("changed", ({ detail }) => { if (detail.another) leave(() => location.reload()); });
  await prepare();
  addEventListener("hashchange", route);
  route();
}

/** Before the sign-in. */
function welcome(config, error) {
  document.title = "Pet Detector: sign in";
  main.className = "welcome";
  main.replaceChildren(h("div", { class: "card" },
    h("img", { src: "icon.svg", alt: "", width: "56", height: "56" }),
    heading("Pet Detector"),
    h("p", {}, "Send pictures, and see which show a cat, which a dog and which neither. Where the machine is not sure, people decide."),
    error && h("p", { class: "problem", role: "alert" }, error.message),
    button("Sign in", () => session.begin(location.hash), "primary"),
    config.environment === "local" && h("p", { class: "muted small" },
      "On this machine there are made-up people: ", h("code", {}, "make run"), " ended with their names and passwords."),
  ));
}

/** What the views share, and the header. */
async function prepare() {
  const { person, may } = session;
  const element = h("span", { class: "outbox", role: "status" });
  const api = new Api(STAGE, session);
  context = { api, session, announce, navigate: (path) => { location.hash = `#${path}`; } };
  place("account").append(element, h("span", { class: "person", title: person.groups.join(", ") }, person.name),
    button("Sign out", signOut, "quiet"));
  place("views").append(...Object.entries(VIEWS).filter(([, view]) => may[view.right])
    .map(([name, { title }]) => h("a", { href: `#/${name}`, id: `to-${name}` }, title)));
  place("header").hidden = false;
  if (may.upload) VIEWS.upload.load(); // it takes files that are dropped on any view
  if (may.review) {
    const { createOutbox } = await import("./outbox.js");
    context.outbox = createOutbox({ api, session, element, below: place("below"), announce });
  }
}

function leave(how) {
  isLeaving = true;
  how();
}

/** Asks first when something is not saved: signed out, nothing can be saved any more. */
function signOut() {
  const out = () => leave(() => session.signOut());
  if (dispatchEvent(new Event("beforeunload", { cancelable: true }))) return out(); // nobody would ask who closes the tab
  const asked = dialog("Not all is saved yet",
    h("p", {}, "Decisions that are not saved yet stay in this browser, and are sent when you sign in here again with the same name. Files that were not sent are not sent."),
    h("div", { class: "row" }, button("Stay", () => asked.close(), "primary", { autofocus: true }), button("Sign out", out, "danger")));
}

async function route() {
  const [address, query] = location.hash.replace(/^#\/?/, "").split("?");
  const path = address.split("/").filter(Boolean).map(decoded);
  const allowed = Object.keys(VIEWS).filter((name) => session.may[VIEWS[name].right]);
  if (!path.length && allowed.length) return location.replace(`#/${allowed[0]}`);
  unmount?.();
  const turn = (shown = {}), view = VIEWS[path[0]];
  main.className = "";
  for (const link of place("views").children) {
    if (link.id === `to-${path[0]}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const element = h("div", { class: `view ${path[0] ?? ""}` });
  unmount = undefined;
  document.title = `${view?.title ?? "Not found"} - Pet Detector`;
  if (!view || !session.may[view.right]) {
    element.append(...refusal(view, allowed));
  } else {
    try {
      const { mount } = await view.load();
      if (turn !== shown) return;
      unmount = mount(element, { ...context, route: { path, query: new URLSearchParams(query) } });
    } catch (error) {
      element.append(heading(view.title), problem(new Error(`This view did not load (${error.message}).`), route));
    }
  }
  main.replaceChildren(element);
  focusOn(element.querySelector("h1"));
  scrollTo(0, 0);
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // somebody typed it
  }
}

function refusal(view, allowed) {
  if (!allowed.length) {
    return [heading("You are in no group yet"), h("p", {},
      "You are signed in, but nobody has said what you may do here. Ask an operator to put you in a group: ",
      "uploader, reviewer or operator (", h("code", {}, "petdetect person"), "). Then sign out and in again.")];
  }
  const words = view ? "Your groups do not include this view. An operator can add you to another group." : "There is no such view.";
  return [heading(view ? "Not for your groups" : "Not found"), h("p", {}, words), h("a", { href: `#/${allowed[0]}` }, `Go to ${VIEWS[allowed[0]].title}`)];
}

/** A request needs a person who is signed in. All that was begun waits behind the dialog. */
function askToSignIn() {
  const told = h("p", { role: "alert" });
  const asked = dialog("Please sign in again",
    h("p", {}, "Your sign-in has ended. Nothing is lost: what you began waits, and goes on when you are back."),
    told,
    h("div", { class: "row" },
      button("Sign in", () => session.beginBeside().catch((error) => { told.textContent = error.message; }), "primary"),
      button("Sign out", signOut, "quiet")));
  asked.addEventListener("cancel", (event) => event.preventDefault());
  session.addEventListener("changed", () => asked.close(), { once: true });
}

/** Says it to a screen reader, once a second at most: of more, the last. */
function announce(text) {
  clearTimeout(announce.timer);
  announce.timer = setTimeout(() => {
    place("announcer").textContent = text;
    announce.last = Date.now();
  }, Math.max(0, 1000 - (Date.now() - (announce.last ?? 0))));
}

function focusOn(element) {
  element?.focus({ preventScroll: true });
}
