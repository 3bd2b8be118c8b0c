// Single keys: the same meaning everywhere, shown on what they do, and they can be switched off (WCAG 2.1.4).

const SETTING = "petdetect.keys";

export const areOn = () => {
  try { return localStorage.getItem(SETTING) !== "off"; } catch { return true; }
};

export function switchKeys(on) {
  try { localStorage.setItem(SETTING, on ? "on" : "off"); } catch { /* then it holds until the page is left */ }
}

/**
 * Calls `actions[key]()`: c, d, o, s, u, " ", Enter, arrows. Ctrl+Z is u. A held key acts once, but arrows go on. While
 * `isOn()` is false, only `within` hears keys, and no letters. Returns a function that ends it.
 */
export function listen(actions, isOn, within) {
  const heard = (event) => {
    const { key, target, ctrlKey, metaKey } = event;
    const isUndo = (ctrlKey || metaKey) && !event.shiftKey && key.toLowerCase() === "z";
    const name = isUndo ? "u" : key.length === 1 ? key.toLowerCase() : key;
    const isInside = within?.contains(target);
    // A button hears a held Enter again and again, and what comes next has nobody seen.
    if (event.repeat && key === "Enter" && target.closest("button")) return event.preventDefault();
    if (!Object.hasOwn(actions, name) || event.isComposing || event.altKey || ((ctrlKey || metaKey) && !isUndo)) return;
    if (target.closest("textarea, select, input:not([type=checkbox]), [contenteditable]") || document.querySelector("dialog[open]")) return;
    if (!isOn() && !isUndo && (!isInside || /^\w$/.test(name))) return;
    // Space and Enter press the button that has the focus.
    if ((name === " " || name === "Enter") && !isInside && target.closest("button, a, summary, input")) return;
    event.preventDefault();
    if (!event.repeat || name.startsWith("Arrow")) actions[name]();
  };
  document.addEventListener("keydown", heard);
  return () => document.removeEventListener("keydown", heard);
}
