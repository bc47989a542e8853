"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const find = (id) => document.getElementById(id);
  const all = (selector) => Array.from(document.querySelectorAll(selector));

  // Charts: drawn for the theme in force, with one arm in focus or none.
  let views = [];
  let focus = "";
  let drawing = 0;
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme || (system.matches ? "dark" : "light")) === "dark";

  // Small multiples keep their size; as many stand in a row as the page has room for.
  const columns = (place) => Math.max(1, Math.floor(place.clientWidth / data.multiple));
  const rows = () => all("[data-chart]").map((place) => data.specs[place.dataset.chart].concat ? columns(place) : 0).join();

  async function draw() {
    const config = dark() ? data.dark : data.light;
    drawing += 1;
    const turn = drawing;
    const old = views;
    views = [];
    old.forEach((result) => result.finalize());
    for (const place of all("[data-chart]")) {
      const spec = JSON.parse(JSON.stringify(data.specs[place.dataset.chart]));
      if (spec.concat) spec.columns = columns(place);
      const result = await vegaEmbed(place, spec, {
        mode: "vega-lite", renderer: "svg", actions: false, ast: true, defaultStyle: false, config,
        tooltip: { disableDefaultStyle: true },
      });
      if (turn !== drawing) { result.finalize(); return; }
      views.push(result);
      result.view.signal("focus", focus).run();
    }
    root.dataset.drawn = "yes";
  }

  function setFocus(arm) {
    focus = focus === arm ? "" : arm;
    views.forEach((result) => result.view.signal("focus", focus).run());
    all("button.chip").forEach((chip) => chip.setAttribute("aria-pressed", String(chip.dataset.arm === focus)));
  }

  all("button.chip").forEach((chip) => chip.addEventListener("click", () => setFocus(chip.dataset.arm)));
  find("theme").addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    draw();
  });
  system.addEventListener("change", () => { if (!root.dataset.theme) draw(); });
  let fits = rows();
  window.addEventListener("resize", () => { if (fits !== rows()) { fits = rows(); draw(); } });
  draw();

  // Tables for other programs: made when the page was written, saved from it without any request.
  all("button.export").forEach((button) => button.addEventListener("click", () => {
    const { table, ending } = button.dataset;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([data.exports[table][ending]], { type: "text/plain;charset=utf-8" }));
    link.download = `${table}.${ending}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }));

  // Predictions: every text is set as text, never as markup.
  if (!find("rows")) return;
  const query = find("query");
  const disagree = find("disagree");
  const size = find("size");
  const boxes = all("input.shown");
  let page = 0;

  const run = find("run");
  // Of an arm with several training runs the answers are a list.
  const answerOf = (row, arm) => {
    const own = row.answers[arm];
    return Array.isArray(own) ? own[Math.min(run ? Number(run.value) : 0, own.length - 1)] : own;
  };
  const same = (text) => text.replace(/\s+/g, " ").trim();
  const shown = () => boxes.filter((box) => box.checked).map((box) => Number(box.value));

  function differ(row, arms) {
    const texts = arms.map((arm) => answerOf(row, arm)).filter((text) => text !== null).map(same);
    return texts.some((text) => text !== texts[0]);
  }

  function holds(row, words) {
    if (row.hay === undefined) {
      row.hay = [row.id, row.prompt, ...row.targets, ...row.answers.flat().filter((text) => text !== null)].join("\n").toLowerCase();
    }
    return words.every((word) => row.hay.includes(word));
  }

  function element(tag, name, text) {
    const made = document.createElement(tag);
    if (name) made.className = name;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function answer(row, arm) {
    const box = element("div");
    const label = element("p", "label");
    const mark = document.querySelector(`label.chip:has(input[value="${arm}"]) .swatch`);
    if (mark) label.append(mark.cloneNode(true));
    label.append(data.arms[arm].name);
    const text = answerOf(row, arm);
    if (text !== null && row.choice) {
      const right = row.targets.includes(text);
      const sign = element("span", right ? "right" : "wrong", right ? "✓" : "✗");
      sign.setAttribute("aria-label", right ? "right" : "wrong");
      label.append(sign);
    }
    box.append(label);
    if (text === null) box.append(element("p", "text muted", "not answered"));
    else if (text.trim() === "") box.append(element("p", "text muted", "(empty)"));
    else box.append(element("p", "text", text));
    return box;
  }

  function card(row, arms) {
    const box = element("article", "example");
    box.append(element("h3", "", row.template ? `${row.id} · template ${row.template}` : row.id));
    if (row.prompt) {
      const details = element("details");
      details.append(element("summary", "", `Prompt: ${same(row.prompt).slice(0, 160)}`));
      const prompt = element("p", "text prompt", row.prompt);
      prompt.tabIndex = 0;
      details.append(prompt);
      box.append(details);
    }
    const target = element("div", "target");
    target.append(element("p", "label", row.targets.length > 1 ? "Targets" : "Target"));
    row.targets.forEach((text) => target.append(element("p", "text", text)));
    box.append(target);
    const answers = element("div", "answers");
    arms.forEach((arm) => answers.append(answer(row, arm)));
    box.append(answers);
    return box;
  }

  function list() {
    const words = query.value.toLowerCase().split(/\s+/).filter(Boolean);
    const arms = shown();
    const rows = data.rows.filter((row) => holds(row, words) && (!disagree.checked || differ(row, arms)));
    const many = Number(size.value);
    const pages = Math.max(1, Math.ceil(rows.length / many));
    page = Math.min(Math.max(page, 0), pages - 1);
    const start = page * many;
    find("rows").replaceChildren(...rows.slice(start, start + many).map((row) => card(row, arms)));
    const span = rows.length ? `${start + 1}–${Math.min(start + many, rows.length)} of ` : "";
    const of = rows.length === data.rows.length ? "" : ` (of ${data.rows.length.toLocaleString("en")})`;
    find("count").textContent = `${span}${rows.length.toLocaleString("en")} examples${of}`;
    find("back").disabled = page === 0;
    find("next").disabled = page >= pages - 1;
  }

  const restart = () => { page = 0; list(); };
  let waiting;
  query.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(restart, 120); });
  [disagree, size, ...(run ? [run] : []), ...boxes].forEach((control) => control.addEventListener("change", restart));
  find("back").addEventListener("click", () => { page -= 1; list(); });
  find("next").addEventListener("click", () => { page += 1; list(); });
  list();
})();
