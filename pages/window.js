// What the server cannot see, or should not be asked: a change of theme, a click on a link of a
// fragment, the keys, the sheet that lists them, and the tour of a first visit. Nothing here runs
// the script but the theme and the links.

const TOUR = "readoutAtlasTour"; // in localStorage: "seen" once the tour was shown
const IDLE = '[data-testid="stApp"][data-test-script-state="notRunning"]';
const NAV = '.st-key-nav [data-testid^="stPageLink"] a[href]';
const SEARCH = '.st-key-browse_q input, .st-key-token_search input, .st-key-decompose_prompt textarea';

const app = () => document.querySelector('[data-testid="stApp"]');
const shown = () => (getComputedStyle(app()).colorScheme.includes("dark") ? "dark" : "light");
const pageLinks = () => [...document.querySelectorAll(NAV)];

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function button(text, act, main = false) {
  const made = element("button", { type: "button", class: main ? "atl-act main" : "atl-act" }, text);
  made.addEventListener("click", act);
  return made;
}

function place(made) {
  made.style.colorScheme = shown();
  document.body.append(made);
}

// --- keys ------------------------------------------------------------------------------------

function typing(event) {
  const at = event.composedPath()[0];
  return at.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(at.tagName || "");
}

function initials() {
  const found = new Map();
  for (const link of pageLinks()) {
    const name = link.textContent.trim();
    const letter = [...name.toLowerCase()].find((l) => /[a-z]/.test(l) && !found.has(l));
    if (letter) found.set(letter, link); // the first letter that no page before it has
  }
  return found;
}

function search() {
  const visible = () => [...document.querySelectorAll(SEARCH)].find((box) => box.offsetParent);
  const enter = (box) => { box.focus(); box.select(); };
  if (visible()) return enter(visible());
  const browse = initials().get("b"); // a page without a search: that of Browse
  if (!browse) return;
  browse.click();
  let left = 100;
  const wait = setInterval(() => {
    const box = visible();
    if (box) enter(box);
    if (box || !(left -= 1)) clearInterval(wait);
  }, 50);
}

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (document.querySelector("dialog.atl-sheet[open]")) {
    if (event.key === "?") document.querySelector("dialog.atl-sheet").close();
    if (event.key.length === 1 && event.key !== " ") event.stopImmediatePropagation();
    return; // no page hears a letter behind the sheet
  }
  if (event.key === "Escape") return endTour();
  if (typing(event)) return;
  const state = window.readoutAtlas;
  const page = state.goes > performance.now() && initials().get(event.key.toLowerCase());
  state.goes = event.key === "g" ? performance.now() + 1500 : 0;
  const act = page ? () => page.click() : { "/": search, "?": openSheet, g: () => {} }[event.key];
  if (!act) return;
  event.preventDefault();
  event.stopImmediatePropagation(); // “g r” must not also be Streamlit's own “r”
  act();
}

// --- the sheet of keys -----------------------------------------------------------------------

function openSheet() {
  endTour();
  const rows = [
    [["n"], "the next feature of the list; on Token the next token by its id"],
    [["p"], "the previous one"],
    [["x"], "a random feature of the list, on Browse"],
    [["/"], "search"],
    ...[...initials()].map(([letter, link]) => [["g", letter], `open ${link.textContent.trim()}`]),
    [["?"], "this sheet"],
    [["Esc"], "close it"],
  ];
  const list = element("dl");
  for (const [keys, means] of rows) {
    list.append(
      element("dt", {}, ...keys.flatMap((key, i) => [i ? " " : "", element("kbd", {}, key)])),
      element("dd", {}, means),
    );
  }
  const sheet = element(
    "dialog", { class: "atl-sheet", "aria-labelledby": "atl-sheet-title" },
    element("h2", { id: "atl-sheet-title" }, "Keys"),
    element("p", {}, "They are not heard while you type in a field."),
    list,
    element("p", {}, "Every view is its address: copy the link, or go back. A caption in italics ",
      "says what is drawn; rest the pointer on a column's head or a number for its meaning."),
  );
  const close = button("Close", () => sheet.close(), true);
  const tour = button("Show the tour", () => { sheet.close(); startTour(true); });
  sheet.append(element("div", { class: "acts" }, tour, close));
  sheet.addEventListener("close", () => sheet.remove());
  sheet.addEventListener("click", (event) => { if (event.target === sheet) sheet.close(); });
  place(sheet);
  sheet.showModal(); // keeps the focus inside, closes on Escape and gives the focus back
  close.focus();
}

// --- the tour --------------------------------------------------------------------------------

const STEPS = [
  ['.st-key-context', "One run, one step",
    "Every page shows this dictionary at this training step. Move the step and every view moves " +
    "with it; a number means something only in its own run."],
  ['.st-key-filters, .st-key-browse_q', "Find a feature",
    "Browse searches labels, kinds and tokens, filters and sorts by any measure. A click on a row " +
    "opens that feature's life; n and p go on through the list."],
  ['.st-key-nav a[href*="decompose"]', "Ask, and keep",
    "Decompose splits the logit of a prompt you type into these features, with what is left over; " +
    "Collections keep features with your tags and notes. Every view is a link. Help shows this " +
    "again; ? lists the keys."],
];

function startTour(asked = false) {
  endTour();
  const title = element("b", { id: "atl-tour-title" });
  const words = element("p", { id: "atl-tour-words" });
  const count = element("small");
  const ring = element("div", { class: "atl-ring", "aria-hidden": "true" });
  const card = element("div", {
    class: "atl-tour", role: "dialog", "aria-labelledby": "atl-tour-title",
    "aria-describedby": "atl-tour-words",
  });
  let at = 0;
  const back = document.activeElement;
  const next = button("Next", () => (at + 1 < STEPS.length ? show(at + 1) : finish()), true);
  const finish = () => { endTour(); if (asked && back && back.isConnected) back.focus(); };
  card.append(title, words, element("div", { class: "acts" }, count, button("Skip", finish), next));

  function stand() {
    const target = document.querySelector(STEPS[at][0]) || (at === 1 && initials().get("b"));
    const box = target && target.getBoundingClientRect();
    ring.hidden = !box || !box.width;
    const wide = Math.min(340, innerWidth - 24);
    card.style.width = `${wide}px`;
    if (ring.hidden) {
      card.style.left = `${innerWidth - wide - 12}px`;
      card.style.top = `${innerHeight - card.offsetHeight - 12}px`;
      return;
    }
    const top = Math.max(2, box.top - 4);
    const bottom = Math.min(innerHeight - 2, box.bottom + 4);
    Object.assign(ring.style, {
      left: `${Math.max(2, box.left - 4)}px`, top: `${top}px`,
      width: `${Math.min(innerWidth - 6, box.width + 8)}px`, height: `${bottom - top}px`,
    });
    const below = bottom + card.offsetHeight + 14 < innerHeight;
    const left = Math.max(12, Math.min(box.left, innerWidth - wide - 12));
    card.style.left = `${left}px`;
    card.style.top = `${Math.max(12, below ? bottom + 10 : top - card.offsetHeight - 10)}px`;
  }

  function show(step) {
    at = step;
    title.textContent = STEPS[at][1];
    words.textContent = STEPS[at][2];
    count.textContent = `${at + 1} of ${STEPS.length}`;
    next.textContent = at + 1 < STEPS.length ? "Next" : "Done";
    stand();
  }

  place(ring);
  place(card);
  show(0);
  const again = setInterval(stand, 250); // what it points at is drawn anew by every run
  window.readoutAtlas.tour = () => { clearInterval(again); ring.remove(); card.remove(); };
  localStorage.setItem(TOUR, "seen");
  if (asked) next.focus(); // a first visitor keeps the focus where it is
}

function endTour() {
  const end = window.readoutAtlas.tour;
  window.readoutAtlas.tour = null;
  if (end) end();
}

function tourOnce() {
  const state = window.readoutAtlas;
  if (state.visited || new URLSearchParams(location.search).has("embed")) return;
  state.visited = true;
  try {
    if (localStorage.getItem(TOUR)) return;
  } catch {
    return; // a browser that keeps nothing would show it for ever
  }
  const wait = setInterval(() => {
    if (!document.querySelector(IDLE) || !document.querySelector(".st-key-context")) return;
    clearInterval(wait);
    setTimeout(startTour, 400);
  }, 500);
}

// --- the component ---------------------------------------------------------------------------

export default function ({ data, setTriggerValue }) {
  if (!app()) return;
  window.readoutAtlas = window.readoutAtlas || { scheme: null, goes: 0, tour: null, visited: false };
  const state = window.readoutAtlas;
  const tell = () => {
    const scheme = shown();
    document.documentElement.style.colorScheme = scheme; // popovers stand outside the app
    for (const made of document.querySelectorAll(".atl-sheet, .atl-tour, .atl-ring")) {
      made.style.colorScheme = scheme;
    }
    if (scheme === data.scheme || scheme === state.scheme) return;
    state.scheme = scheme;
    setTriggerValue("scheme", scheme);
  };
  if (shown() === data.scheme) state.scheme = data.scheme;
  tell();
  const watch = new MutationObserver(tell);
  watch.observe(app(), { attributes: true, attributeFilter: ["class"] });

  const clicked = (event) => {
    const from = event.target.closest ? event.target : null;
    const opener = from && from.closest("[data-atl-opens]");
    if (opener) {
      document.querySelector('[data-testid="stPopoverButton"][aria-expanded="true"]')?.click();
      return { sheet: openSheet, tour: () => startTour(true) }[opener.dataset.atlOpens]?.();
    }
    const link = from && from.closest(".atl a[href]");
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    setTriggerValue("go", link.getAttribute("href"));
  };
  document.addEventListener("click", clicked, true);
  window.addEventListener("keydown", pressed, true);
  tourOnce();
  return () => {
    watch.disconnect();
    document.removeEventListener("click", clicked, true);
    window.removeEventListener("keydown", pressed, true);
  };
}
