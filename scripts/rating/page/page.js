"use strict";
// Two states: `book`, what every rater chose on this page, kept in this browser, and the rater who
// is at it. A sheet is a rater's choices in the order in which they were made; all else follows.

const page = JSON.parse(document.getElementById("page").textContent);
const items = new Map(page.items.map((item) => [item.id, item]));
const CHOICES = ["left", "right", "tie", "skip"];
const SAID = { left: "Answer 1", right: "Answer 2", tie: "Tie", skip: "Skipped" };
const KEYS = {
  ArrowLeft: "left", 1: "left", ArrowRight: "right", 2: "right", ArrowDown: "tie", "=": "tie", s: "skip",
};
const PLACE = `rating ${page.id}`;
const byId = (id) => document.getElementById(id);

// ------------------------------------------------------------------------------------ what is kept

/** Returns sheets by rater; a rater may have any name, `constructor` too. */
const sheetsOf = (entries) => Object.assign(Object.create(null), Object.fromEntries(entries));
const empty = () => ({ rater: null, sheets: sheetsOf([]) });

/** Returns the choices that belong to this page, each item's first. */
function sheetOf(list) {
  const seen = new Set();
  return list.filter(({ item, choice }) => {
    const fits = items.has(item) && CHOICES.includes(choice) && !seen.has(item);
    seen.add(item);
    return fits;
  });
}

function load() {
  try {
    const kept = JSON.parse(localStorage.getItem(PLACE)) ?? empty();
    const read = Object.entries(kept.sheets).map(([rater, list]) => [rater, sheetOf(list)]);
    const sheets = sheetsOf(read);
    return { rater: kept.rater in sheets ? kept.rater : null, sheets };
  } catch {
    return empty();
  }
}

function keep() {
  try {
    localStorage.setItem(PLACE, JSON.stringify(book));
  } catch {
    problem("This browser keeps nothing: save your ratings before you close the page.");
  }
}

let book = load();
const sheet = () => book.sheets[book.rater];

// ------------------------------------------------------------------------------- each rater's order

/** Returns a generator of numbers in [0, 1) that a text seeds (FNV-1a into mulberry32). */
function numbers(text) {
  let state = 0x811c9dc5;
  for (const sign of text) state = Math.imul(state ^ sign.codePointAt(0), 0x01000193);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Returns the items in the rater's own order (Fisher and Yates). */
function orderOf(rater) {
  const order = [...items.keys()];
  const next = numbers(`${page.id} ${rater}`);
  for (let last = order.length - 1; last > 0; last -= 1) {
    const other = Math.floor(next() * (last + 1));
    [order[last], order[other]] = [order[other], order[last]];
  }
  return order;
}

function current() {
  const done = new Set(sheet().map((made) => made.item));
  return orderOf(book.rater).find((id) => !done.has(id));
}

// ---------------------------------------------------------------------------------- what is done

function begin(rater) {
  byId("problem").hidden = true;
  book.rater = rater;
  book.sheets[rater] ??= [];
  keep();
  show();
  byId("progress").focus();
}

function leave() {
  book.rater = null;
  keep();
  show();
  byId("name").value = "";
  byId("name").focus();
}

function choose(choice) {
  const item = current();
  if (item === undefined) return;
  sheet().push({ item, choice });
  keep();
  show(SAID[choice]);
}

function undo() {
  if (sheet().pop() === undefined) return;
  keep();
  show("Undone");
}

function rateSkipped() {
  book.sheets[book.rater] = sheet().filter((made) => made.choice !== "skip");
  keep();
  show();
}

function save() {
  const content = { page: page.id, rater: book.rater, ratings: sheet() };
  const text = `${JSON.stringify(content, null, 2)}\n`;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  const words = book.rater.match(/[\p{L}\p{N}]+/gu) ?? ["anonymous"];
  link.download = `rating-${words.join("-")}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  say(`Saved as ${link.download}`);
}

async function goOn(file) {
  try {
    const saved = JSON.parse(await file.text());
    if (saved.page !== page.id) throw new Error("it belongs to another page");
    const rater = String(saved.rater ?? "").trim();
    if (!rater || !Array.isArray(saved.ratings)) throw new Error("it holds no ratings");
    const here = book.sheets[rater]?.length ?? 0;
    const read = sheetOf(saved.ratings);
    if (here > read.length) throw new Error(`this browser already has ${here} of ${rater}'s ratings`);
    book.sheets[rater] = read;
    begin(rater);
  } catch (error) {
    problem(`${file.name} cannot be read: ${error.message}.`);
  }
}

// --------------------------------------------------------------------------------- what is seen

const say = (text) => { byId("said").textContent = text; };

function problem(text) {
  byId("problem").textContent = text;
  byId("problem").hidden = false;
}

function put(element, text) {
  element.textContent = text || "(nothing)";
  element.classList.toggle("none", !text);
}

function message({ role, content }, alone) {
  const said = document.createElement("div");
  said.className = "said";
  if (!alone) said.append(Object.assign(document.createElement("h2"), { textContent: role }));
  said.append(Object.assign(document.createElement("div"), { className: "text", dir: "auto" }));
  put(said.lastChild, content);
  return said;
}

function show(done = "") {
  const begun = book.rater !== null;
  const id = begun ? current() : undefined;
  byId("start").hidden = begun;
  byId("bar").hidden = !begun;
  byId("rate").hidden = byId("choices").hidden = id === undefined;
  byId("end").hidden = !begun || id !== undefined;
  byId("save").hidden = id === undefined;
  if (!begun) return;
  showProgress(id);
  if (id === undefined) showEnd();
  else showItem(items.get(id));
  say([done, byId("progress").textContent].filter(Boolean).join(". "));
}

function showProgress(id) {
  const made = sheet().length;
  byId("progress").textContent = id === undefined ? `All ${items.size} done` : `${made + 1} of ${items.size}`;
  byId("who").textContent = book.rater;
  Object.assign(byId("meter"), { max: items.size, value: made });
  byId("undo").disabled = made === 0;
}

function showItem(item) {
  const alone = item.prompt.length === 1;
  byId("prompt").replaceChildren(...item.prompt.map((said) => message(said, alone)));
  put(byId("left"), item.left);
  put(byId("right"), item.right);
  scrollTo(0, 0);
}

function showEnd() {
  const count = (choice) => sheet().filter((made) => made.choice === choice).length;
  const [skipped, tied] = [count("skip"), count("tie")];
  byId("summary").textContent =
    `You rated ${items.size - skipped} of ${items.size} comparisons (${tied} ${tied === 1 ? "tie" : "ties"}).`;
  byId("again").hidden = skipped === 0;
  byId("again").textContent = `Rate what you skipped (${skipped})`;
  byId("save-end").focus();
}

// ----------------------------------------------------------------------------------------- events

byId("start").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = byId("name").value.trim().replace(/\s+/g, " ");
  if (name) begin(name);
});
byId("file").addEventListener("change", (event) => {
  const [file] = event.target.files;
  event.target.value = "";
  if (file) goOn(file);
});
for (const button of document.querySelectorAll("[data-choice]")) {
  button.addEventListener("click", () => choose(button.dataset.choice));
}
byId("change").addEventListener("click", leave);
byId("undo").addEventListener("click", undo);
byId("back").addEventListener("click", undo);
byId("again").addEventListener("click", rateSkipped);
byId("save").addEventListener("click", save);
byId("save-end").addEventListener("click", save);
addEventListener("keydown", (event) => {
  // A key that is held down rates one item, not all.
  const apart = event.repeat || event.ctrlKey || event.metaKey || event.altKey;
  if (apart || book.rater === null || event.target.matches("input")) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key === "u") undo();
  else if (Object.hasOwn(KEYS, key) && current() !== undefined) choose(KEYS[key]);
  else return;
  event.preventDefault();
});
// The same page in another tab.
addEventListener("storage", (event) => {
  if (event.key !== PLACE) return;
  book = load();
  show();
});

for (const element of document.querySelectorAll("[data-question]")) element.textContent = page.question;
document.querySelector("[data-count]").textContent =
  items.size === 1 ? "one comparison" : `${items.size} comparisons`;
show();
