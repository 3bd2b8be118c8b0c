// Single keys: the same meaning everywhere, shown beside what they do, and they can be switched off (WCAG 2.1.4).

const SETTING = "petdetect.keys";

export const areOn = () => {
  try {
    return localStorage.getItem(SETTING) !== "off";
  } catch {
    return true;
  }
};

export function switchKeys(on) {
  try {
    localStorage.setItem(SETTING, on ? "on" : "off");
  } catch {
    // then it holds until the page is left: the listeners are told by the caller
  }
}

/**
 * Calls `actions[key]()` for keys that mean something now: c, d, o, s, u, Enter, " " and arrows, as `event.key` names them.
 * An action that returns false did nothing: the browser then does its own. Ctrl+Z is u. A key that is held acts once, but
 * arrows go on. `isOn()`: whether single keys count; without them only `within` (a widget of its own) hears arrows, space
 * and Enter, which no speech input types by accident. Returns a function that ends it.
 */
export function listen(actions, isOn, within) {
  const heard = (event) => {
    const { key, target } = event;
    if (event.defaultPrevented || event.isComposing || event.altKey || isTyping(target) || document.querySelector("dialog[open]")) return;
    const isUndo = (event.ctrlKey || event.metaKey) && !event.shiftKey && key.toLowerCase() === "z";
    if (!isUndo && (event.ctrlKey || event.metaKey)) return;
    const name = isUndo ? "u" : key.length === 1 ? key.toLowerCase() : key;
    if (!Object.hasOwn(actions, name)) return;
    const isLetter = name.length === 1 && name !== " ";
    const isInside = within?.contains(target);
    if (!isUndo && !isOn() && (isLetter || !isInside)) return;
    // Space and Enter on a button press that button, unless it belongs to the widget.
    if ((name === " " || name === "Enter") && !isInside && target.closest?.("button, a, summary, input, select")) return;
    if (event.repeat && !name.startsWith("Arrow")) return event.preventDefault();
    if (actions[name]() !== false) event.preventDefault();
  };
  document.addEventListener("keydown", heard);
  return () => document.removeEventListener("keydown", heard);
}

function isTyping(target) {
  return target.isContentEditable || !!target.closest?.("textarea, select, input:not([type=checkbox], [type=radio], [type=button])");
}
