// The script of a report. Data come as calls of `rayjobs.job`, `.block`, `.column` and `.rows`: a page that is opened
// from a disk may load scripts, and nothing else. Whatever comes from a file's name or content is put into text nodes and
// attributes, never into HTML; the page's policy forbids it as well.
"use strict";
(() => {
  const CLIPPED = 1, SOFT = 2, LESSER = 4, STRETCHED = 8;
  const CARD_PX = [236, 300], GAP_PX = 14, GRAINS_PX = 100, HEADING_PX = 44, LINE_PX = 20, FINDING_PX = 58;
  const MOST_PRINTED = 60, MOST_CHUNKS = 40;
  const SHOWS = [
    ["done", "Pictures"], ["failed", "Failed"], ["skipped", "Skipped"], ["outliers", "Unlike their kind"],
    ["duplicates", "Duplicates"], ["clipped", "Clipped"], ["soft", "Soft"], ["lesser", "Less than promised"], ["all", "All inputs"],
  ];
  const $ = (id) => document.getElementById(id);
  const policy = window.trustedTypes?.createPolicy("rayjobs", {
    createScriptURL(url) {
      if (!/^data\/[a-z]+[0-9-]*\.js$/.test(url)) throw new TypeError("not a file of the report");
      return url;
    },
  });

  function make(tag, properties = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name === "class") element.className = value;
      else if (name in element) element[name] = value;
      else element.setAttribute(name, value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  }

  // ---- data ----------------------------------------------------------------------------------------------------------

  let job = null;
  const names = [], folders = [], keys = [], stems = [], marks = [], twins = [], whites = [], reasons = [], sizes = [], groups = [];
  let status = null, folderOf = null, haystack = [];
  const columns = new Map(); // measure -> Float32Array
  const chunks = new Map(); // rows read lately, or being read: chunk -> promise
  const arrived = new Map(); // rows that are there now: chunk -> rows
  const loading = new Map(); // url -> promise
  const missing = new Set(); // urls that couldn't be read when they were asked for last
  let blocks = 0, blocksThere = 0;

  function read(url) {
    return new Promise((done, failed) => {
      const script = document.createElement("script");
      script.src = policy ? policy.createScriptURL(url) : url;
      script.onload = () => { script.remove(); readAgain(url); done(); };
      script.onerror = () => { script.remove(); missing.add(url); failed(new Error(`${url} is missing`)); };
      document.head.append(script);
    });
  }
  function load(url) { // once for all; what couldn't be read may be asked for again
    if (!loading.has(url)) loading.set(url, read(url).catch((error) => { loading.delete(url); throw error; }));
    return loading.get(url);
  }
  const padded = (number, digits) => String(number).padStart(digits, "0");
  const blockUrl = (block) => `data/block-${padded(block, 5)}.js`;
  const columnUrl = (measure, block) => `data/column-${padded(measure, 3)}-${padded(block, 5)}.js`;
  const rowsUrl = (chunk) => `data/rows-${padded(chunk, 5)}.js`;

  function needColumn(measure) {
    const all = [];
    for (let block = 0; block < blocks; block++) all.push(load(columnUrl(measure, block)));
    return Promise.all(all);
  }

  async function readRows(chunk) {
    try { await read(rowsUrl(chunk)); } catch (error) { chunks.delete(chunk); fail(error); throw error; }
    const rows = arrived.get(chunk);
    arrived.delete(chunk);
    return rows;
  }
  async function needRow(row) {
    const chunk = Math.floor(row / job.chunk);
    if (!chunks.has(chunk)) {
      while (chunks.size >= MOST_CHUNKS) chunks.delete(chunks.keys().next().value);
      chunks.set(chunk, readRows(chunk));
    }
    return (await chunks.get(chunk))[row % job.chunk];
  }

  window.rayjobs = Object.freeze({
    job(facts) { job = facts; },
    block(number, facts) {
      const first = number * job.block;
      let place = first;
      facts.folders.forEach((folder, run) => {
        folders.push(folder);
        for (let left = facts.runs[run]; left > 0; left--) folderOf[place++] = folders.length - 1;
      });
      facts.names.forEach((name, i) => {
        const row = first + i;
        names[row] = name;
        status[row] = facts.status.charCodeAt(i);
        keys[row] = facts.keys[i];
        marks[row] = facts.marks[i];
        if (marks[row] & STRETCHED) $("stretch-all").hidden = false;
        reasons[row] = facts.reasons[i];
        sizes[row] = [facts.sizes[2 * i], facts.sizes[2 * i + 1]];
        twins[row] = facts.twins.length ? facts.twins[i] : 0;
        whites[row] = facts.whites.length ? facts.whites[i] : 0;
        stems[row] = facts.charts.length ? facts.charts[i] : null;
        facts.groups.forEach((codes, group) => { (groups[group] ??= [])[row] = codes[i]; });
      });
      blocksThere++;
    },
    column(measure, block, text) {
      if (!columns.has(measure)) columns.set(measure, new Float32Array(job.total).fill(NaN));
      const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
      columns.get(measure).set(new Float32Array(bytes.buffer), block * job.block);
    },
    rows(chunk, rows) { arrived.set(chunk, rows); },
  });

  const path = (row) => (folders[folderOf[row]] ? `${folders[folderOf[row]]}/${names[row]}` : names[row]);
  function folderName(row) { // below the folder that all are in
    const folder = folders[folderOf[row]] ?? "";
    return job.root && folder.startsWith(job.root) ? folder.slice(job.root.length).replace(/^\//, "") : folder;
  }
  const sought = (row) => (haystack[row] ??= path(row).toLowerCase());
  const isDone = (row) => status[row] === 100;
  const thumbnail = (row) => `thumbnails/${keys[row]}${marks[row] & STRETCHED && stretching ? "-stretched" : ""}.jpg`;

  // ---- numbers for people --------------------------------------------------------------------------------------------

  const MINUS = "\u2212"; // what is said here, report_numbers.py says alike
  const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
  function figure(value) {
    if (value === null || value === undefined || !Number.isFinite(value)) return "–";
    if (Math.abs(value) < 5e-5) return "0";
    const text = Math.abs(value) >= 999.5 ? whole.format(value) : String(Number(value.toPrecision(3)));
    return text.replace("-", MINUS);
  }
  function said(value, measure) {
    if (value === null || !Number.isFinite(value)) return "–";
    if (measure.share) {
      const percent = value * 100;
      return percent > 0 && percent < 0.05 ? "< 0.1 %" : `${Number(percent.toFixed(1))} %`.replace("-", MINUS);
    }
    const text = figure(value);
    return measure.signed && value > 0 && text !== "0" ? `+${text}` : text;
  }
  function word(value, measure, white) {
    if (value === null || !Number.isFinite(value) || (measure.ofWhite && !white)) return "";
    const compared = measure.ofWhite ? value / white : value;
    const found = measure.words.find(([bound]) => bound === null || compared <= bound);
    return found ? found[1] : "";
  }
  function unit(measure, white = 0) {
    if (measure.ofWhite && white) return `of ${whole.format(white)}`;
    return /^level/.test(measure.unit) || measure.share ? "" : measure.unit;
  }

  function cardNumbers(row, values, ends = "") {
    const list = make("dl", { class: "numbers" });
    for (const line of job.card) {
      const measures = line.columns.map((place) => job.measures[place]);
      const numbers = line.columns.map((place, i) => said(values(place), measures[i]));
      const extra = line.columns.length === 1 ? [unit(measures[0], whites[row]), word(values(line.columns[0]), measures[0], whites[row])] : [];
      const known = numbers.some((number) => number !== "–");
      if (!known) continue;
      const name = numbers.join(" / ") + (extra[0] ? ` ${extra[0]}` : "");
      list.append(make("div", {}, make("dt", { title: measures.map((each) => each.meaning).join("\n") }, line.label + (measures.length > 1 ? ends : "")),
        make("dd", {}, name, extra[1] ? make("em", {}, `, ${extra[1]}`) : null)));
    }
    return list;
  }

  // ---- what is chosen, and the address ----------------------------------------------------------------------------------

  const state = { show: "done", q: "", sort: "", desc: false, reason: "", groups: new Map(), ranges: new Map(), measure: "", image: "" };
  const measureAt = new Map();
  let view = [], stretching = true;

  function readAddress() {
    const given = new URLSearchParams(location.hash.slice(1));
    state.show = SHOWS.some(([name]) => name === given.get("show")) ? given.get("show") : "done";
    state.q = given.get("q") ?? "";
    state.sort = measureAt.has(given.get("sort")) ? given.get("sort") : "";
    state.desc = given.get("desc") === "1";
    state.reason = given.get("reason") ?? "";
    state.measure = measureAt.has(given.get("number")) ? given.get("number") : "";
    state.image = given.get("image") ?? "";
    state.groups = new Map();
    state.ranges = new Map();
    for (const [key, value] of given) {
      if (key.startsWith("g.") && job.groups.some(([name]) => name === key.slice(2))) state.groups.set(key.slice(2), value);
      if (key.startsWith("r.") && measureAt.has(key.slice(2))) {
        const [low, high] = value.split("..").map((text) => (text === "" ? NaN : Number(text)));
        state.ranges.set(key.slice(2), [Number.isNaN(low) ? -Infinity : low, Number.isNaN(high) ? Infinity : high]);
      }
    }
  }
  function address() {
    const given = new URLSearchParams();
    const put = (key, value, unless = "") => { if (value !== unless) given.set(key, value); };
    put("show", state.show, "done"); put("q", state.q); put("reason", state.reason);
    put("sort", state.sort); put("desc", state.desc ? "1" : ""); put("number", state.measure);
    for (const [name, text] of state.groups) given.set(`g.${name}`, text);
    const end = (number) => (Number.isFinite(number) ? String(number) : "");
    for (const [name, [low, high]] of state.ranges) given.set(`r.${name}`, `${end(low)}..${end(high)}`);
    put("image", state.image);
    return `#${given}`;
  }
  let written = null;
  function writeAddress(push = false) {
    written = address();
    history[push ? "pushState" : "replaceState"](null, "", written === "#" ? location.pathname + location.search : written);
  }

  // ---- choosing --------------------------------------------------------------------------------------------------------

  function shownTest() {
    const outliers = new Set(job.outliers.map(([row]) => row));
    return {
      all: () => true,
      done: isDone,
      failed: (row) => status[row] === 102,
      skipped: (row) => status[row] === 115,
      outliers: (row) => outliers.has(row),
      duplicates: (row) => twins[row] > 0,
      clipped: (row) => (marks[row] & CLIPPED) > 0,
      soft: (row) => (marks[row] & SOFT) > 0,
      lesser: (row) => (marks[row] & LESSER) > 0,
    }[state.show];
  }

  function tests(without = "") {
    const found = [shownTest()];
    if (state.q) {
      const text = state.q.toLowerCase();
      found.push((row) => sought(row).includes(text));
    }
    if (state.reason) {
      const codes = new Set(job.reasons.flatMap(([, reason], code) => (reason === state.reason ? [code] : [])));
      found.push((row) => codes.has(reasons[row]));
    }
    for (const [name, text] of state.groups) {
      const at = job.groups.findIndex(([each]) => each === name), code = job.groups[at][1].indexOf(text);
      found.push((row) => groups[at]?.[row] === code);
    }
    for (const [name, [low, high]] of state.ranges) {
      const values = compared(name);
      if (name !== without && values) found.push((row) => values[row] >= low && values[row] <= high);
    }
    return found;
  }

  function chosen(without = "") {
    const all = tests(without), rows = [];
    next: for (let row = 0; row < job.total; row++) {
      if (status[row] === 0) continue; // not read yet
      for (const test of all) if (!test(row)) continue next;
      rows.push(row);
    }
    return rows;
  }

  function sorted(rows) {
    const values = state.sort ? compared(state.sort) : null;
    if (state.show === "duplicates" && !values) return rows.sort((a, b) => twins[a] - twins[b] || a - b);
    if (state.show === "outliers" && !values) {
      const place = new Map(job.outliers.map(([row], i) => [row, i]));
      return rows.sort((a, b) => place.get(a) - place.get(b));
    }
    if (!values) {
      if (folderRuns) rows.sort((a, b) => folderRuns[folderOf[a]] - folderRuns[folderOf[b]] || a - b);
      return state.desc ? rows.reverse() : rows;
    }
    const sign = state.desc ? -1 : 1;
    const last = (value) => Number.isNaN(value);
    return rows.sort((a, b) => last(values[a]) - last(values[b]) || sign * (values[a] - values[b]) || a - b);
  }

  // Levels of several depths are compared as shares of white.
  function compared(name) {
    const place = measureAt.get(name), values = columns.get(place);
    return values && job.measures[place].ofWhite ? values.map((value, row) => value / (whites[row] || NaN)) : values;
  }
  function asCompared(name) {
    const each = job.measures[measureAt.get(name)];
    return each.ofWhite ? { ...each, share: true } : each;
  }

  let turn = 0;
  async function apply({ keep = false } = {}) {
    const own = ++turn;
    const needed = new Set([...state.ranges.keys(), state.sort, state.measure].filter(Boolean));
    await Promise.all([...needed].map((name) => needColumn(measureAt.get(name))));
    if (own !== turn) return;
    rankFolders();
    view = sorted(chosen());
    if (!keep && window.scrollY > top()) window.scrollTo(0, top());
    layOut();
    showTools();
    if (state.measure) drawHistogram();
  }
  let folderRuns = null; // of each run of inputs the place of its folder, where folders come in several (above and below others)
  function rankFolders() {
    const known = [...new Set(folders)].sort((a, b) => (a < b ? -1 : 1));
    const place = new Map(known.map((folder, i) => [folder, i]));
    folderRuns = known.length < folders.length ? folders.map((folder) => place.get(folder)) : null;
  }
  const top = () => $("pictures").offsetTop;
  const gridTop = () => grid.getBoundingClientRect().top + window.scrollY;

  // ---- the grid: lines of cards, made while they are in sight ------------------------------------------------------------

  const grid = $("grid");
  let lines = [], made = new Map(), across = 1, cardHeight = 300, pictureHeight = 160;

  function layOut() {
    const width = grid.clientWidth;
    const least = Math.min(CARD_PX[1], Math.max(CARD_PX[0], width / 8)); // on wide screens rather larger than more
    across = Math.max(1, Math.floor((width + GAP_PX) / (least + GAP_PX)));
    const cardWidth = (width - GAP_PX * (across - 1)) / across;
    pictureHeight = Math.round(cardWidth * 2 / 3);
    const failures = state.show === "failed" || state.show === "skipped";
    const numbers = failures ? 0 : job.card.length;
    const findings = state.show === "outliers" || state.show === "lesser" ? FINDING_PX : 0;
    cardHeight = pictureHeight + 54 + findings + LINE_PX * numbers + (failures || !job.cardCharts.length ? 4 : 62);
    lines = [];
    let y = 0;
    const heading = headings();
    for (let i = 0; i < view.length;) {
      const head = heading(view[i]);
      let end = i + 1;
      while (end < view.length && (head === null || heading(view[end]) === head)) end++;
      if (head !== null) { lines.push({ y, head, count: end - i }); y += HEADING_PX; }
      for (; i < end; i += across) {
        lines.push({ y, first: i, end: Math.min(i + across, end) });
        y += cardHeight + GAP_PX;
      }
      i = end;
    }
    grid.style.height = `${y + 40}px`;
    for (const element of made.values()) element.remove();
    made = new Map();
    $("empty").hidden = view.length > 0 || blocksThere < blocks;
    render();
  }

  function headings() {
    if (state.show === "duplicates" && !state.sort) return (row) => `Duplicates, group ${twins[row]}`;
    if (state.sort || state.show === "outliers" || folders.length < 2) return () => null;
    return (row) => folderName(row) || "Inputs";
  }

  function lineAt(y) {
    let low = 0, high = lines.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (lines[middle].y <= y) low = middle; else high = middle - 1;
    }
    return low;
  }

  function render(from = window.scrollY - gridTop() - 500, to = from + window.innerHeight + 1400, most = Infinity) {
    if (!lines.length) return;
    const first = lineAt(from), wanted = new Set();
    for (let i = first; i < lines.length && lines[i].y < to && wanted.size < most; i++) wanted.add(i);
    for (const [i, element] of made) if (!wanted.has(i) && !element.contains(document.activeElement)) { element.remove(); made.delete(i); }
    for (const i of wanted) if (!made.has(i)) {
      const element = lineElement(lines[i]);
      made.set(i, element);
      const after = [...made.keys()].filter((each) => each > i);
      grid.insertBefore(element, after.length ? made.get(Math.min(...after)) : null);
    }
  }

  function lineElement(line) {
    const element = line.head === undefined
      ? make("div", { class: "line", role: "presentation" }, ...view.slice(line.first, line.end).map((row, i) => card(row, line.first + i)))
      : make("div", { class: "line heading", role: "presentation" },
        make("h3", {}, make("bdi", {}, line.head), " ", make("span", { class: "quiet" }, `· ${whole.format(line.count)}`)));
    element.style.top = `${line.y}px`;
    if (line.head !== undefined) element.style.height = `${HEADING_PX}px`;
    else element.style.gridTemplateColumns = `repeat(${across}, minmax(0, 1fr))`;
    return element;
  }

  function card(row, place) {
    const open = make("button", { class: "open", type: "button", "aria-label": `Open ${path(row)}` });
    open.dataset.row = row;
    open.style.height = `${pictureHeight}px`;
    if (isDone(row) && keys[row]) open.append(make("img", { src: thumbnail(row), alt: "", decoding: "async", class: Math.max(...sizes[row]) < GRAINS_PX ? "grainy" : "" }));
    else open.append(why(row));
    const article = make("div", { class: "card", role: "listitem", "aria-posinset": place + 1, "aria-setsize": view.length }, open,
      make("div", { class: "text" },
        make("div", { class: "name", title: path(row) }, make("bdi", {}, names[row])),
        make("div", { class: "meta" }, ...meta(row)),
        state.show === "outliers" ? make("div", { class: "finding", title: finding(row) }, finding(row)) : null,
        state.show === "lesser" ? remark(row) : null,
        isDone(row) ? cardNumbers(row, (measure) => columns.get(measure)?.[row] ?? null) : null),
      strip(row));
    article.style.height = `${cardHeight}px`;
    return article;
  }

  function why(row) {
    const element = make("span", { class: "why" });
    element.append(isDone(row) ? "no preview" : make("span", { class: `tag ${status[row] === 102 ? "bad" : ""}` }, reasonOf(row)));
    needRow(row).then((told) => element.append(make("span", {}, told[2])), () => {});
    return element;
  }
  const reasonOf = (row) => (job.reasons[reasons[row]]?.[1] ?? "").replaceAll("_", " ");

  function remark(row) { // what a result lacks
    const element = make("div", { class: "finding" });
    needRow(row).then((told) => { element.textContent = element.title = told[3]; }, () => {});
    return element;
  }

  const finding = (row) => job.outliers.find(([each]) => each === row)?.[1] ?? "";

  function meta(row) {
    const parts = [];
    if (sizes[row][0]) parts.push(`${sizes[row][0]} × ${sizes[row][1]} `);
    if (!isDone(row)) parts.push(status[row] === 102 ? "failed" : "skipped");
    if (marks[row] & STRETCHED && stretching) {
      parts.push(make("span", { class: "tag", title: `black and white are at ${job.stretch} of its samples` }, "stretched"), " ");
    }
    for (const [bit, text] of [[LESSER, "less than promised"], [SOFT, "soft"]]) {
      if (marks[row] & bit) parts.push(make("span", { class: "tag warn" }, text), " ");
    }
    if (finding(row) && state.show !== "outliers") parts.push(make("span", { class: "tag warn" }, "unlike its kind"));
    return parts;
  }

  function strip(row) {
    if (!job.cardCharts.length || stems[row] === null || !isDone(row)) return null;
    const element = make("div", { class: "strip", "aria-hidden": "true" });
    for (const name of job.cardCharts) {
      const image = make("img", { src: `../charts/${name}/${stems[row]}`, alt: "", loading: "lazy", decoding: "async" });
      const [left, above, right, below] = job.frame ?? [0, 0, 0, 0, 1];
      image.style.width = `${100 / (1 - left - right)}%`;
      image.style.height = `${100 / (1 - above - below)}%`;
      image.style.left = `${-100 * left / (1 - left - right)}%`;
      image.style.top = `${-100 * above / (1 - above - below)}%`;
      element.append(make("span", {}, image));
    }
    return element;
  }

  grid.addEventListener("click", (event) => {
    const open = event.target.closest(".open");
    if (open) openViewer(view.indexOf(Number(open.dataset.row)));
  });
  grid.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across }[event.key];
    const open = event.target.closest(".open");
    if (!step || !open) return;
    event.preventDefault();
    focusCard(Math.min(Math.max(view.indexOf(Number(open.dataset.row)) + step, 0), view.length - 1));
  });
  function focusCard(place) {
    const at = lines.findIndex((line) => line.head === undefined && line.first <= place && place < line.end);
    if (at < 0) return;
    const y = gridTop() + lines[at].y, tools = getComputedStyle($("tools")).position === "sticky" ? $("tools").offsetHeight : 0;
    if (y < window.scrollY + tools) window.scrollTo(0, y - tools - HEADING_PX);
    else if (y + cardHeight > window.scrollY + window.innerHeight) window.scrollTo(0, y + cardHeight - window.innerHeight + GAP_PX);
    render();
    grid.querySelector(`.open[data-row="${view[place]}"]`)?.focus({ preventScroll: true });
  }

  document.querySelector(".skip").addEventListener("click", (event) => {
    if (!view.length) return;
    event.preventDefault(); // the address holds the choice
    focusCard(0);
  });

  // ---- the tools ---------------------------------------------------------------------------------------------------------

  function buildTools() {
    const option = (value, text) => make("option", { value }, text);
    const onCards = [...new Set(job.card.flatMap((line) => line.columns))];
    const listed = (select, first) => {
      select.append(option("", first));
      const some = make("optgroup", { label: "On the cards" }), all = make("optgroup", { label: "All numbers" });
      for (const place of onCards) some.append(option(job.measures[place].name, job.measures[place].plain));
      for (const measure of job.measures) if (!onCards.includes(measureAt.get(measure.name))) all.append(option(measure.name, measure.plain));
      select.append(...[some, all].filter((group) => group.children.length));
    };
    listed($("sort"), "by name");
    listed($("measure"), "none");
    $("measure").parentElement.hidden = job.measures.length === 0;
    for (const [name, texts] of job.groups) {
      const select = make("select", {}, option("", "all"), ...texts.map((text) => option(`=${text}`, text || "nothing")));
      select.addEventListener("change", () => {
        if (select.value) state.groups.set(name, select.value.slice(1)); else state.groups.delete(name);
        changed();
      });
      select.dataset.group = name;
      $("choices").append(make("label", {}, make("bdi", {}, name), " ", select));
    }
    for (const [name, text] of SHOWS) {
      const number = name === "all" ? job.total : job.counts[name];
      if (!number && name !== "done") continue;
      if (name === "all" && job.counts.done === job.total) continue;
      const button = make("button", { class: "show", type: "button" }, `${text} `, make("b", {}, whole.format(number)));
      button.dataset.show = name;
      button.addEventListener("click", () => { state.show = name; state.reason = ""; changed(); });
      $("shows").append(button);
    }
    const reason = make("select", { id: "reason", "aria-label": "Reason" }, option("", "any reason"));
    for (const [, each] of job.reasons) reason.append(option(each, each.replaceAll("_", " ")));
    reason.addEventListener("change", () => { state.reason = reason.value; changed(); });
    $("shows").append(reason);
    let typing = 0;
    $("search").addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(() => { state.q = $("search").value; changed(); }, 60);
    });
    $("tools").addEventListener("submit", (event) => event.preventDefault());
    $("sort").addEventListener("change", () => { state.sort = $("sort").value; changed(); });
    $("direction").addEventListener("click", () => { state.desc = !state.desc; changed(); });
    $("measure").addEventListener("change", () => { state.measure = $("measure").value; changed(); });
    $("reset").addEventListener("click", () => {
      Object.assign(state, { show: "done", q: "", reason: "", groups: new Map(), ranges: new Map() });
      changed();
    });
    for (const id of ["from", "to"]) $(id).addEventListener("change", () => {
      const end = (text, otherwise) => (text === "" ? otherwise : Number(text));
      const share = measure().share ? 100 : 1;
      setRange(end($("from").value, -Infinity) / share, end($("to").value, Infinity) / share);
    });
    $("whole").addEventListener("click", () => setRange(-Infinity, Infinity));
    brush();
  }
  const changed = () => { writeAddress(); apply().catch(fail); };
  const measure = () => asCompared(state.measure);

  function setRange(low, high) {
    [low, high] = [low, high].sort((a, b) => a - b);
    if (low === -Infinity && high === Infinity) state.ranges.delete(state.measure);
    else state.ranges.set(state.measure, [low, high]);
    changed();
  }

  function showTools() {
    const field = $("search");
    if (document.activeElement !== field) field.value = state.q;
    $("sort").value = state.sort;
    $("measure").value = state.measure;
    $("direction").textContent = state.desc ? "Descending" : "Ascending";
    $("direction").setAttribute("aria-pressed", String(state.desc));
    for (const button of document.querySelectorAll(".show")) button.setAttribute("aria-pressed", String(button.dataset.show === state.show));
    revealShown();
    const withReasons = { failed: "f", skipped: "s" }[state.show];
    const usable = withReasons ? job.reasons.filter(([letter]) => letter === withReasons).map(([, reason]) => reason) : [];
    $("reason").hidden = usable.length < 2;
    for (const each of $("reason").options) each.hidden = each.value !== "" && !usable.includes(each.value);
    $("reason").value = usable.includes(state.reason) ? state.reason : "";
    for (const select of document.querySelectorAll("#choices select")) {
      const text = state.groups.get(select.dataset.group);
      select.value = text === undefined ? "" : `=${text}`;
    }
    $("distribution").hidden = !state.measure;
    $("chosen").replaceChildren(...[...state.ranges].map(([name, ends]) => {
      const each = asCompared(name);
      const button = make("button", { type: "button", class: "show", "aria-label": `Drop the range of ${each.plain}` },
        `${each.plain} ${rangeText(ends, each)} ✕`);
      button.addEventListener("click", () => { state.ranges.delete(name); changed(); });
      return button;
    }));
    const loaded = blocksThere < blocks ? `, ${blocksThere} of ${blocks} parts read` : "";
    $("count").textContent = `${whole.format(view.length)} of ${whole.format(job.total)} inputs${loaded}`;
  }
  function revealShown() { // on narrow screens they are a line that scrolls sideways
    const all = $("shows"), own = all.querySelector("[aria-pressed=true]");
    if (!own) return;
    const left = own.offsetLeft - all.offsetLeft;
    if (left < all.scrollLeft || left + own.offsetWidth > all.scrollLeft + all.clientWidth) all.scrollLeft = left - 14;
  }
  function rangeText([low, high], each) {
    if (low === -Infinity) return `up to ${said(high, each)}`;
    return high === Infinity ? `from ${said(low, each)}` : `${said(low, each)} to ${said(high, each)}`;
  }

  // ---- the histogram and its brush -----------------------------------------------------------------------------------------

  let ends = [0, 1];
  const SVG = "http://www.w3.org/2000/svg";

  function drawHistogram() {
    const values = compared(state.measure);
    const found = Float32Array.from(chosen(state.measure).map((row) => values[row]).filter(Number.isFinite)).sort();
    const svg = $("histogram"), each = measure();
    svg.setAttribute("aria-label", `Distribution of ${each.plain} over ${found.length} inputs; drag to choose a range`);
    svg.replaceChildren();
    if (!found.length) { ends = [0, 1]; $("low").textContent = $("high").textContent = $("middle").textContent = ""; return; }
    const at = (share) => found[Math.round(share * (found.length - 1))];
    ends = found.length < 200 ? [found[0], found.at(-1)] : [at(0.002), at(0.998)];
    if (ends[0] === ends[1]) ends = [ends[0] - 0.5, ends[1] + 0.5];
    const bins = Math.max(6, Math.min(80, Math.ceil(2 * Math.cbrt(found.length)))), counts = new Array(bins).fill(0);
    for (const value of found) counts[Math.max(0, Math.min(bins - 1, Math.floor((value - ends[0]) / (ends[1] - ends[0]) * bins)))]++;
    const most = Math.max(...counts), range = state.ranges.get(state.measure);
    const rect = (x, y, width, height, name = "") => {
      const element = document.createElementNS(SVG, "rect");
      for (const [key, value] of Object.entries({ x, y, width, height, class: name })) element.setAttribute(key, value);
      svg.append(element);
    };
    counts.forEach((count, bin) => {
      if (!count) return;
      const height = Math.max(2, 76 * count / most), middle = ends[0] + (bin + 0.5) / bins * (ends[1] - ends[0]);
      rect(600 * bin / bins + 0.5, 80 - height, 600 / bins - 1, height, range && (middle < range[0] || middle > range[1]) ? "out" : "");
    });
    if (range) {
      const [low, high] = range.map((end) => 600 * Math.max(0, Math.min(1, (end - ends[0]) / (ends[1] - ends[0]))));
      rect(low, 0, Math.max(high - low, 1), 80, "brush");
    }
    $("low").textContent = said(ends[0], each);
    $("middle").textContent = `median ${said(at(0.5), each)} ${unit(each)}`;
    $("high").textContent = said(ends[1], each);
    $("range-unit").textContent = each.share ? "%" : unit(each);
    const share = each.share ? 100 : 1, shown = (end) => (Number.isFinite(end) ? Number((end * share).toPrecision(15)) : "");
    $("from").value = range ? shown(range[0]) : "";
    $("to").value = range ? shown(range[1]) : "";
  }

  function brush() {
    const svg = $("histogram");
    let start = null, box = null;
    const share = (event) => Math.max(0, Math.min(1, (event.clientX - box.left) / box.width));
    svg.addEventListener("pointerdown", (event) => {
      box = svg.getBoundingClientRect();
      start = share(event);
      svg.setPointerCapture(event.pointerId);
    });
    const moved = (event) => {
      const [low, high] = [start, share(event)].sort((a, b) => a - b);
      const value = (at) => Number((ends[0] + at * (ends[1] - ends[0])).toPrecision(6));
      return [low < 0.004 ? -Infinity : value(low), high > 0.996 ? Infinity : value(high)];
    };
    svg.addEventListener("pointermove", (event) => {
      if (start === null || Math.abs(share(event) - start) < 0.004) return;
      const mark = svg.querySelector(".brush") ?? svg.appendChild(document.createElementNS(SVG, "rect"));
      const [low, high] = [start, share(event)].sort((a, b) => a - b);
      for (const [key, value] of Object.entries({ class: "brush", x: 600 * low, y: 0, width: 600 * (high - low), height: 80 })) mark.setAttribute(key, value);
    });
    svg.addEventListener("pointerup", (event) => {
      if (start === null) return;
      const far = Math.abs(share(event) - start) >= 0.004, [low, high] = moved(event);
      start = null;
      if (far) setRange(low, high); else setRange(-Infinity, Infinity);
    });
    svg.addEventListener("pointercancel", () => { start = null; drawHistogram(); });
  }

  // ---- one image, large ------------------------------------------------------------------------------------------------------

  const viewer = $("viewer");
  let current = -1, opener = null;

  function openViewer(place) {
    if (place < 0) return;
    opener = view[place];
    const isOpen = viewer.open;
    if (!isOpen) show();
    state.image = path(view[place]);
    writeAddress(!isOpen);
    showImage(place);
  }
  function show() {
    viewer.showModal();
    viewer.focus(); // on no button: the first of them may be switched off in a moment, and keys would go nowhere
  }
  function go(place) {
    if (place < 0 || place >= view.length || place === current) return;
    opener = view[place];
    state.image = path(view[place]);
    writeAddress();
    showImage(place);
  }
  function closeViewer() {
    if (viewer.open) viewer.close();
  }
  viewer.addEventListener("close", () => {
    current = -1;
    state.image = "";
    writeAddress();
    focusCard(view.indexOf(opener));
  });

  let asked = 0;
  async function showImage(place) {
    current = place;
    const row = view[place], own = ++asked;
    $("viewer-name").replaceChildren(make("bdi", {}, names[row]));
    $("viewer-name").title = path(row);
    $("place").textContent = `${whole.format(place + 1)} of ${whole.format(view.length)}`;
    $("previous").disabled = place === 0;
    $("next").disabled = place === view.length - 1;
    let told;
    try { told = await needRow(row); } catch (error) { $("cannot").textContent = error.message; return; }
    if (own !== asked) return;
    showStage(row, told);
    showPanel(row, told);
  }

  const canvas = $("canvas"), after = $("after"), before = $("before");
  let cut = 0, hasBefore = false, canStretch = false, onStage = { pictures: [] };

  // What there is to show of a picture: its file, if there is one, and small previews, which have two forms of deep samples.
  const preview = (key, isDeep) => (key ? { plain: `thumbnails/${key}.jpg`, deep: isDeep ? `thumbnails/${key}-stretched.jpg` : "" } : null);
  function showStage(row, told) {
    const [source, image] = told, original = told[8] && preview(...told[8]);
    const isChanged = image !== null || (job.changes && !keys[row].endsWith("-before"));
    const result = preview(keys[row], (marks[row] & STRETCHED) > 0);
    onStage = { row, pictures: [] };
    $("nothing").replaceChildren(...(isDone(row) ? [] : [why(row)]));
    if (isDone(row)) {
      onStage.pictures.push({ element: after, name: isChanged ? "After" : "The picture", file: isChanged ? image : source, preview: result });
      if (isChanged) onStage.pictures.push({ element: before, name: "Before", file: source, preview: original });
    }
    const remarks = [job.changes && !isChanged ? "The result wasn't kept: this is the original." : "", told[2] ? `No preview: ${told[2]}.` : ""];
    $("cannot").textContent = isDone(row) ? remarks.filter(Boolean).join(" ") : "";
    showPictures();
  }
  function showPictures() {
    hasBefore = false;
    canStretch = onStage.pictures.some((each) => each.preview?.deep);
    for (const element of [after, before]) {
      element.hidden = true;
      element.onload = element.onerror = null;
      element.removeAttribute("src");
      element.alt = "";
    }
    for (const each of onStage.pictures) showPicture(each);
    fit();
  }
  function showPicture(picture) {
    const { element, name, file, preview } = picture;
    const ways = stretching && preview?.deep ? [[preview.deep, "stretched"]] : [[file, ""], [preview?.plain, "preview"]].filter(([url]) => url);
    element.alt = `${name}: ${names[onStage.row]}`;
    const next = () => {
      const way = ways.shift();
      if (!way) {
        picture.said = name === "Before" ? "isn't there any more, or your browser can't show its format." : "";
        if (name !== "Before") $("nothing").textContent = "No preview.";
        fit();
        return;
      }
      picture.said = "";
      element.onload = () => {
        element.hidden = false;
        if (element === before) hasBefore = true;
        const size = `preview of ${Math.max(element.naturalWidth, element.naturalHeight)} px`;
        if (way[1]) picture.said = `${size}${way[1] === "stretched" ? `, black and white at ${job.stretch} of its samples` : ""}.`;
        fit();
      };
      element.onerror = next;
      element.src = way[0];
    };
    next();
  }

  function fit() {
    $("compare").hidden = !hasBefore; // first: they take room from the picture
    $("stretching").hidden = !canStretch;
    const box = canvas.getBoundingClientRect();
    const place = (image) => {
      const width = image.naturalWidth || 1, height = image.naturalHeight || 1;
      const scale = Math.min(box.width / width, box.height / height);
      image.classList.toggle("grainy", Math.max(width, height) < GRAINS_PX);
      Object.assign(image.style, { width: `${width * scale}px`, height: `${height * scale}px`,
        left: `${(box.width - width * scale) / 2}px`, top: `${(box.height - height * scale) / 2}px` });
      return [(box.width - width * scale) / 2, width * scale];
    };
    const [left, width] = place(after);
    const x = left + width * cut / 100; // of the canvas, so that both pictures are cut at one place
    if (hasBefore) {
      const [ownLeft, ownWidth] = place(before);
      const share = Math.max(0, Math.min(1, (x - ownLeft) / ownWidth));
      before.style.clipPath = cut >= 100 ? "none" : `inset(0 ${100 * (1 - share)}% 0 0)`;
      after.style.clipPath = `inset(0 0 0 ${cut}%)`;
    } else after.style.clipPath = "none";
    $("seam").hidden = !hasBefore || cut === 0 || cut === 100;
    $("seam").style.left = `${x - 1}px`;
    const told = onStage.pictures.filter((each) => each.said).reverse(), same = told.length > 1 && told[0].said === told[1].said;
    $("remark").textContent = same ? `Before and after: ${told[0].said}` : told.map((each) => `${each.name}: ${each.said}`).join(" ");
    $("cut").value = String(cut);
    $("flip").setAttribute("aria-pressed", String(cut === 100));
  }
  $("cut").addEventListener("input", () => { cut = Number($("cut").value); fit(); });
  canvas.addEventListener("pointermove", (event) => {
    if (!hasBefore || !(event.buttons & 1)) return;
    const box = after.getBoundingClientRect();
    cut = Math.round(Math.max(0, Math.min(100, 100 * (event.clientX - box.left) / box.width)));
    fit();
  });
  const flip = () => { cut = cut === 100 ? 0 : 100; fit(); };
  function stretch() {
    stretching = !stretching;
    for (const id of ["stretch", "stretch-all"]) $(id).setAttribute("aria-pressed", String(stretching));
    if (viewer.open) showPictures();
    layOut();
  }
  $("flip").addEventListener("click", flip);
  $("stretch").addEventListener("click", stretch);
  $("stretch-all").addEventListener("click", stretch);
  $("previous").addEventListener("click", () => go(current - 1));
  $("next").addEventListener("click", () => go(current + 1));
  $("close").addEventListener("click", closeViewer);
  document.addEventListener("keydown", (event) => {
    if (!viewer.open || event.ctrlKey || event.metaKey || event.altKey || event.target === $("cut")) return;
    const act = { ArrowLeft: () => go(current - 1), ArrowRight: () => go(current + 1), Home: () => go(0), End: () => go(view.length - 1),
      b: () => hasBefore && flip(), s: () => canStretch && stretch() }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (act) { event.preventDefault(); act(); }
  });

  function showPanel(row, told) {
    const [source, image, , degraded, tableRow, charts, cells, numbers] = told;
    const values = numbers.trim() ? numbers.trim().split(" ").map(Number) : [];
    const link = (href, text) => make("a", { href }, text);
    const tags = [];
    if (degraded) tags.push(make("span", { class: "tag warn" }, degraded));
    if (marks[row] & CLIPPED) tags.push(make("span", { class: "tag warn" }, "clipped"));
    if (marks[row] & SOFT) tags.push(make("span", { class: "tag warn" }, "soft"));
    if (twins[row]) tags.push(make("span", { class: "tag" }, `duplicates, group ${twins[row]}`));
    const size = sizes[row][0] ? `${sizes[row][0]} × ${sizes[row][1]} px` : "";
    const parts = [
      make("p", { class: "quiet" }, make("bdi", {}, folders[folderOf[row]] ?? "")),
      make("div", { class: "tags" }, make("span", { class: "quiet" }, size), ...tags),
      finding(row) ? make("p", {}, `Unlike its kind: ${finding(row)}.`) : null,
      make("div", { class: "links" }, link(source, "Original"), image ? link(image, "Output") : null,
        tableRow && job.table ? make("span", { class: "quiet" }, `Row ${whole.format(tableRow)} of `, link(`../${job.table}`, job.table)) : null),
      definitions(job.cells.map((name, i) => [name, cells[i]]).filter(([, text]) => text)),
      values.length ? cardNumbers(row, (measureOf) => values[measureOf], ", dark / bright") : null,
      ...job.charts.map(([name, label], i) => (charts[i]
        ? make("a", { class: "chart", href: charts[i] }, make("img", { src: charts[i], alt: `${label} of ${names[row]}`, loading: "lazy" })) : null)),
      values.some(Number.isFinite) ? allNumbers(row, values) : null,
    ];
    $("panel").replaceChildren(...parts.filter(Boolean));
    $("panel").scrollTop = 0;
  }
  function definitions(pairs) {
    if (!pairs.length) return null;
    return make("dl", { class: "numbers" }, ...pairs.map(([name, text]) => make("div", {}, make("dt", {}, make("bdi", {}, name)), make("dd", {}, make("bdi", {}, text)))));
  }
  let allOpen = false;
  function allNumbers(row, values) {
    const body = make("tbody");
    job.measures.forEach((each, i) => {
      if (!Number.isFinite(values[i])) return;
      const found = word(values[i], each, whites[row]), of = each.ofWhite && whites[row] ? unit(each, whites[row]) : each.unit;
      body.append(make("tr", { title: each.meaning }, make("td", {}, each.label),
        make("td", {}, `${said(values[i], each)}${of && !each.share ? ` ${of}` : ""}${found ? `, ${found}` : ""}`)));
    });
    const details = make("details", { open: allOpen }, make("summary", {}, "All numbers"), make("table", {}, body));
    details.addEventListener("toggle", () => { allOpen = details.open; });
    return details;
  }

  // ---- beginning -------------------------------------------------------------------------------------------------------------

  async function follow() {
    readAddress();
    await apply();
    openNamed();
  }
  function openNamed() {
    if (!state.image) { closeViewer(); return; }
    const place = view.findIndex((row) => path(row) === state.image);
    if (place < 0 || place === current) return;
    if (viewer.open) showImage(place);
    else { opener = view[place]; show(); showImage(place); }
  }
  function readAgain(url) { // the notice is of what is missing still
    if (!missing.delete(url)) return;
    if (missing.size) fail(new Error(`${[...missing][0]} is missing`));
    else if (blocksThere === blocks) $("broken").hidden = true;
  }
  function fail(error) {
    $("broken").hidden = false;
    $("broken").textContent = `The report isn't whole: ${error.message}. Run the job again, it writes what is missing.`;
  }

  document.addEventListener("DOMContentLoaded", async () => {
    if (!job) { fail(new Error("data/job.js is missing")); return; }
    job.measures.forEach((each, place) => measureAt.set(each.name, place));
    status = new Uint8Array(job.total);
    folderOf = new Int32Array(job.total);
    blocks = Math.ceil(job.total / job.block);
    readAddress();
    buildTools();
    showTools();
    const onCards = [...new Set(job.card.flatMap((line) => line.columns))];
    window.addEventListener("scroll", () => requestAnimationFrame(() => render()), { passive: true });
    new ResizeObserver(() => { if (grid.clientWidth) layOut(); }).observe(grid);
    window.addEventListener("resize", () => { if (viewer.open) fit(); render(); });
    window.addEventListener("hashchange", () => { if (location.hash !== written) follow().catch(fail); });
    window.addEventListener("popstate", () => { if (location.hash !== written) follow().catch(fail); });
    window.addEventListener("beforeprint", () => {
      render(0, Infinity, MOST_PRINTED);
      const printed = grid.querySelectorAll(".card").length;
      $("printed").textContent = printed < view.length ? `These are the first ${whole.format(printed)} of ${whole.format(view.length)}.` : "";
    });
    try {
      for (let block = 0; block < blocks; block++) {
        await Promise.all([load(blockUrl(block)), ...onCards.map((place) => load(columnUrl(place, block)))]);
        if (block === 0 || block === blocks - 1) await apply({ keep: true });
      }
      if (!blocks) await apply();
      openNamed();
    } catch (error) { fail(error); }
  });
})();
