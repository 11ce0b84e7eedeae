"use strict";

// The page works without this file: tables, figures and trials are there. It adds sorting,
// filtering, and the answers side by side. Whatever a model wrote goes in as text, never as HTML.

const NOTHING = "–";
const PER_PAGE = 10;
const MODELS_AT_FIRST = 4;
const ORDERS = ["none", "ascending", "descending"];

/** Returns a new element with the given properties and children. */
function made(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Returns "1 row", "2,000 rows". */
function counted(number, thing) {
  return `${number.toLocaleString("en")} ${thing}${number === 1 ? "" : "s"}`;
}

/** Returns true if every word of a query is somewhere in the text. */
function matches(text, query) {
  return query.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

// ---------------------------------------------------------------------------------- tables

/** Returns what a cell is sorted by: the number behind it, else its text; null for a dash. */
function sortKey(cell) {
  if (cell.dataset.number !== undefined) return Number(cell.dataset.number);
  const text = cell.textContent.trim();
  return text === NOTHING || text === "" ? null : text;
}

/** Compares two keys: numbers before texts, and missing ones last in both orders. */
function compared(a, b, sign) {
  if (a === null || b === null) return (a === null) - (b === null);
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
  if (typeof a === "number") return sign * (a - b);
  return sign * a.localeCompare(b, "en", { numeric: true });
}

/** Makes the headers of a table sort its rows, and a box filter them. */
function arrange(table, box, found) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const headers = [...table.tHead.rows[0].cells];

  const order = () => headers.find((header) => header.ariaSort !== "none");

  // A cell that repeats the one above it is blank only while that one is above it.
  const reveal = () => table.classList.toggle("arranged", Boolean(order() || box.value.trim()));

  function sort() {
    const header = order();
    const sorted = [...rows];
    if (header) {
      const sign = header.ariaSort === "ascending" ? 1 : -1;
      const keys = new Map(rows.map((row) => [row, sortKey(row.cells[header.cellIndex])]));
      sorted.sort((a, b) => compared(keys.get(a), keys.get(b), sign));
    }
    body.append(...sorted);
    reveal();
  }

  function filter() {
    rows.forEach((row, place) => { row.hidden = !matches(texts[place], box.value.trim()); });
    const kept = rows.filter((row) => !row.hidden).length;
    const all = counted(rows.length, "row");
    found.value = kept === rows.length ? all : `${kept} of ${all}`;
    reveal();
  }

  for (const header of headers) {
    header.querySelector("button").addEventListener("click", () => {
      const next = ORDERS[(ORDERS.indexOf(header.ariaSort) + 1) % ORDERS.length];
      for (const other of headers) other.ariaSort = "none";
      header.ariaSort = next;
      sort();
    });
  }
  box.addEventListener("input", filter);
  filter();
}

for (const grid of document.querySelectorAll(".grid")) {
  arrange(
    grid.querySelector("table"), grid.querySelector("input"), grid.querySelector(".found"),
  );
}

// --------------------------------------------------------------------------------- answers

/** What a prompt's line of answers holds, by place. */
const [TEXT, TOKENS, ENDED, RIGHT] = [0, 1, 2, 3];

/** Which prompts are shown, by the base's answer and those of the shown trials. */
const KINDS = {
  all: () => true,
  differs: (base, trials) => {
    const texts = [base, ...trials].filter(Boolean).map((answer) => answer[TEXT]);
    return new Set(texts).size > 1;
  },
  gained: (base, trials) => base?.[RIGHT] === 0 && trials.some((answer) => answer?.[RIGHT] === 1),
  lost: (base, trials) => base?.[RIGHT] === 1 && trials.some((answer) => answer?.[RIGHT] === 0),
};

/** Returns what a search looks through: prompt, known answer, and every model's answer. */
function searched(item) {
  const answers = item.answers.filter(Boolean).map((answer) => answer[TEXT]);
  return [item.id, item.prompt, item.known ?? "", ...answers].join("\n").toLowerCase();
}

/** Returns a text as it is, in the direction of its own script. */
function quoted(text, name = "text") {
  return made("div", { className: name, dir: "auto", textContent: text });
}

/** Returns a note in place of a text. */
function noted(text) {
  return made("p", { className: "note", textContent: text });
}

/** Returns one model's answer, with what is known about it. */
function answerOf(model, answer, base) {
  const head = made("header", {}, made("b", { textContent: model.name }));
  const card = made("section", { className: "answer" }, head);
  if (!answer) {
    card.append(noted("no answer"));
    return card;
  }
  if (answer[RIGHT] !== null) {
    const right = answer[RIGHT] === 1;
    head.append(made("span", {
      className: right ? "right" : "wrong", textContent: right ? "✓ right" : "✗ wrong",
    }));
  }
  const same = !model.base && base && base[TEXT] === answer[TEXT];
  const ended = answer[ENDED] === "itself" ? "ended by itself" : answer[ENDED];
  const facts = [counted(answer[TOKENS], "token"), ended, ...(same ? ["same as the base"] : [])];
  card.append(
    answer[TEXT].trim() ? quoted(answer[TEXT]) : noted("(nothing)"),
    made("footer", { textContent: facts.join(" · ") }),
  );
  card.classList.toggle("same", Boolean(same));
  return card;
}

/** Returns a prompt, its known answer, and the answers of the shown models. */
function promptOf(item, number, set, shown) {
  const base = item.answers[set.models.findIndex((model) => model.base)];
  const card = made("article", {},
    made("header", {},
      made("b", { textContent: `Prompt ${number}` }), made("span", { textContent: item.id })),
    quoted(item.prompt, "text prompt"),
  );
  if (item.known !== null) {
    card.append(made("div", { className: "known" },
      made("b", { textContent: "Known answer" }), quoted(item.known)));
  }
  card.append(made("div", { className: "answers" },
    ...shown.map((place) => answerOf(set.models[place], item.answers[place], base))));
  return card;
}

/** Shows the answers that the form asks for, a page at a time. */
function browse(part, sets) {
  const form = part.querySelector("form");
  const { set: chooser, kind, query } = form.elements;
  const models = part.querySelector(".models");
  const [back, on] = part.querySelectorAll(".pager button");
  const status = part.querySelector(".pager output");
  const list = part.querySelector(".prompts");
  let page = 0;
  let texts = [];
  part.querySelector(".without").remove();

  const current = () => sets[chooser.value];
  const shownModels = () =>
    [...models.querySelectorAll("input:checked")].map((box) => Number(box.value));

  function enter() {
    const set = current();
    const left = set.prompts - set.items.length;
    texts = set.items.map(searched);
    part.querySelector(".how").textContent = set.how
      + (left ? ` The first ${set.items.length} of ${set.prompts} prompts are here; `
        + `${left} are left out, and stand in each generations.parquet.` : "");
    models.replaceChildren(...set.models.map((model, place) => made("label", {},
      made("input", { type: "checkbox", value: place, checked: place < MODELS_AT_FIRST }),
      made("span", { textContent: model.base ? `${model.name} (base)` : model.name }),
    )));
    const scored = set.items.some((item) =>
      item.answers.some((answer) => answer && answer[RIGHT] !== null));
    for (const option of kind.options) {
      option.hidden = option.disabled = ["gained", "lost"].includes(option.value) && !scored;
    }
    if (kind.selectedOptions[0].disabled) kind.value = "all";
    page = 0;
    draw();
  }

  function wanted(set, shown) {
    const base = set.models.findIndex((model) => model.base);
    const trials = shown.filter((place) => place !== base);
    return set.items.map((item, place) => ({ item, place })).filter(({ item, place }) =>
      matches(texts[place], query.value.trim())
      && KINDS[kind.value](item.answers[base], trials.map((trial) => item.answers[trial])));
  }

  function draw() {
    const set = current();
    const shown = shownModels();
    const found = wanted(set, shown);
    const pages = Math.max(1, Math.ceil(found.length / PER_PAGE));
    page = Math.min(page, pages - 1);
    const first = page * PER_PAGE;
    const kept = found.slice(first, first + PER_PAGE);
    list.replaceChildren(...kept.map(({ item, place }) => promptOf(item, place + 1, set, shown)));
    status.value = found.length
      ? `${first + 1}–${first + kept.length} of ${counted(found.length, "prompt")}`
      : "No prompt is like that.";
    back.disabled = page === 0;
    on.disabled = page === pages - 1;
  }

  function turn(pages) {
    page += pages;
    draw();
    part.querySelector(".pager").scrollIntoView({ block: "start" });
  }

  chooser.append(...sets.map((set, place) =>
    made("option", { value: place, textContent: `${set.experiment}: ${set.name}` })));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", (event) => {
    if (event.target === chooser) return enter();
    page = 0;
    draw();
  });
  back.addEventListener("click", () => turn(-1));
  on.addEventListener("click", () => turn(1));
  enter();
}

const data = document.getElementById("data");
if (data) browse(document.getElementById("answers"), JSON.parse(data.textContent));
