// The margin explorer: a cascade decided from stored confidences, in the browser, and what a slider changes.
// One module, used as a widget in JupyterLab (its default export) and inlined into docs/explorer.html.

// ---- The cascade. Nothing here knows of a page; every number equals the library's. ----

const RULES = {
  CPM: {
    name: "Precision margin per class",
    knob: "margin",
    positions: [-15, 15],
    start: 0,
    value: (position) => position / 100,
    position: (value) => Math.round(100 * value),
    text: (value) => signed(100 * value, 0),
    unit: "points",
    threshold: (data, branch, seen, margin) => cpmThresholds(data, branch, seen, bars(data, margin)),
  },
  confidence: {
    name: "One confidence threshold",
    knob: "threshold",
    positions: [0, 74], // strict to loose, like the margins: 99.99 % to 49.88 %
    start: 40,
    value: (position) => Number((1 - 10 ** (position / 20 - 4)).toFixed(4)),
    position: (value) => Math.round(20 * (4 + Math.log10(1 - value))),
    text: (value) => (100 * value).toFixed(2),
    unit: "%",
    threshold: (data, branch, seen, knob) => data.classes.map(() => Math.fround(knob)),
  },
};

/** Turn stored text into arrays, and sort what each branch says of the validation images. */
export function decode(stored) {
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const split = ({ labels, backbone, branches }) => ({
    labels: bytes(labels),
    backbone: bytes(backbone),
    branches: branches.map((branch) => ({
      confidence: new Float32Array(bytes(branch.confidence).buffer),
      predicted: bytes(branch.predicted),
    })),
  });
  const data = { ...stored, valid: split(stored.valid), test: split(stored.test) };
  data.order = data.valid.branches.map(({ confidence, predicted }) => {
    const images = [...confidence.keys()].sort((a, b) => confidence[b] - confidence[a]);
    return data.classes.map((_, c) => images.filter((image) => predicted[image] === c));
  });
  const { labels, backbone } = data.valid;
  data.precision = data.classes.map((_, c) => {
    const said = [...backbone.keys()].filter((image) => backbone[image] === c);
    return said.filter((image) => labels[image] === c).length / said.length; // NaN closes a class
  });
  return data;
}

/** The precision that each class must reach: the backbone's, less the margin, at most the ceiling. */
export function bars(data, margin) {
  const own = data.class_margins ?? data.classes.map(() => 0);
  return data.precision.map((precision, c) => Math.min(precision - own[c] - margin, data.ceiling));
}

/** The lowest confidence a class at which the validation images above it still meet its bar; else Infinity. */
export function cpmThresholds(data, branch, seen, bar) {
  const { confidence } = data.valid.branches[branch];
  return data.order[branch].map((images, c) => {
    let [number, right, found, observed] = [0, 0, Infinity, false];
    images.forEach((image, place) => {
      if (seen[image]) {
        number += 1;
        right += data.valid.labels[image] === c;
        observed = true;
      }
      // Equal confidences stand or fall together: look only where the next one is lower.
      if (observed && confidence[images[place + 1]] !== confidence[image]) {
        if (number >= data.min_support && right / number >= bar[c]) found = confidence[image];
        observed = false;
      }
    });
    return found;
  });
}

/** Calibrate a cascade on valid, branch after branch, and run it on test. */
export function run(data, { rule, knobs, calibration }) {
  const depth = data.test.branches.length;
  const everyone = new Uint8Array(data.valid.labels.length).fill(1);
  const survivors = everyone.slice();
  const thresholds = knobs.map((knob, branch) => {
    const seen = calibration === "survivors" ? survivors : everyone;
    const row = data.closed[branch]
      ? data.classes.map(() => Infinity)
      : RULES[rule].threshold(data, branch, seen, knob);
    const { confidence, predicted } = data.valid.branches[branch];
    survivors.forEach((_, image) => {
      if (confidence[image] >= row[predicted[image]]) survivors[image] = 0;
    });
    return row;
  });
  const exits = new Uint8Array(data.test.labels.length).fill(depth);
  const answers = data.test.backbone.slice();
  for (let branch = depth - 1; branch >= 0; branch -= 1) {
    const { confidence, predicted } = data.test.branches[branch];
    confidence.forEach((value, image) => {
      if (value >= thresholds[branch][predicted[image]]) {
        exits[image] = branch;
        answers[image] = predicted[image];
      }
    });
  }
  return { thresholds, exits, answers, ...judge(data, rule, knobs, thresholds, exits, answers) };
}

/** What a cascade costs and loses, and what its exits deliver. */
function judge(data, rule, knobs, thresholds, exits, answers) {
  const { labels, backbone } = data.test;
  const zeros = () => data.classes.map(() => 0);
  const said = data.stages.map(zeros);
  const hits = data.stages.map(zeros);
  exits.forEach((exit, image) => {
    said[exit][answers[image]] += 1;
    hits[exit][answers[image]] += answers[image] === labels[image];
  });
  const total = (numbers) => numbers.reduce((sum, number) => sum + number, 0);
  const number = said.map(total);
  const right = hits.map(total);
  const open = thresholds.map((row) => row.some((value) => value < Infinity));
  const costs = data.stages.map(
    (_, exit) =>
      total(data.stages.slice(0, exit + 1)) + total(data.branches.map((macs, b) => (b <= exit && open[b] ? macs : 0))),
  );
  const accuracy = total(right) / labels.length;
  const own = total([...backbone.keys()].map((image) => Number(backbone[image] === labels[image]))) / labels.length;
  const mean = total(costs.map((cost, exit) => cost * number[exit])) / labels.length;
  const promises = knobs.map((knob, branch) =>
    bars(data, rule === "CPM" ? knob : 0).map((bar, c) => promise(hits[branch][c], said[branch][c], bar, data.ceiling)),
  );
  return {
    number,
    right,
    costs,
    open,
    promises,
    accuracy,
    drop: 100 * (own - accuracy),
    reduction: 1 - mean / total(data.stages),
  };
}

/** Whether what left as a class kept its bar, with the Wilson interval; at the ceiling one mistake misses it. */
function promise(hits, exits, bar, ceiling) {
  if (!exits) return { bar, exits, state: "nobody" };
  const z = 1.959963984540054;
  const precision = hits / exits;
  const centre = (precision + z ** 2 / (2 * exits)) / (1 + z ** 2 / exits);
  const spread =
    (z / (1 + z ** 2 / exits)) * Math.sqrt((precision * (1 - precision)) / exits + z ** 2 / (4 * exits ** 2));
  const [low, high] = [hits ? centre - spread : 0, hits < exits ? centre + spread : 1];
  const missed = bar < ceiling && high < bar ? "broken" : "missed";
  return { bar, exits, precision, low, high, state: precision >= bar ? "kept" : missed };
}

// ---- Words and shapes. ----

const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)}\u00a0%`;
const count = (number) => number.toLocaleString("en");

function signed(number, digits) {
  const size = Math.abs(number).toFixed(digits);
  return Number(size) === 0 ? size : `${number < 0 ? "−" : "+"}${size}`;
}

function element(name, attributes = {}, ...children) {
  const svg = ["svg", "g", "rect", "path", "line", "circle", "text", "title", "polyline"].includes(name);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** A picture of a width in real pixels, so that its letters never shrink. */
function picture(place, height, label, draw) {
  const width = Math.max(place.clientWidth, 280);
  const image = element("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label });
  draw(width, (name, attributes, ...children) => image.append(element(name, attributes, ...children)));
  place.replaceChildren(image);
}

/** The cascade as a river: length is computation, height is images; what leaves falls out of it. */
function drawFlow(place, data, result, before) {
  const narrow = place.clientWidth < 520;
  const [tall, gap, bar, top] = [narrow ? 150 : 190, 34, 14, 20];
  const images = result.exits.length;
  const label = result.number.map((number, e) => `exit ${e + 1}: ${percent(number / images)}`).join(", ");
  picture(place, top + tall + gap + bar + 66, `Where ${count(images)} test images leave. ${label}.`, (width, add) => {
    const wide = width / (data.stages.length + 1); // a column an exit, and one before the first
    const full = Math.min(tall, 0.86 * wide); // how wide all images are where they have left
    const spent = data.stages.map((macs, s) => macs + (data.branches[s] ?? 0));
    const scale = (wide * data.stages.length) / spent.reduce((a, b) => a + b);
    const bottom = top + tall;
    const levels = (outcome) => {
      let left = images;
      return outcome.number.map((number) => [left, (left -= number)].map((each) => top + (tall * each) / images));
    };
    add("rect", { x: 0.5, y: top, width: wide * data.stages.length - 1, height: tall, class: "all" });
    let x = 0;
    const edges = [];
    levels(result).forEach(([reach, rest], e) => {
      const share = result.number[e] / images;
      const end = x + spent[e] * scale;
      const branch = (data.branches[e] ?? 0) * scale;
      add("rect", { x, y: top, width: end - x, height: reach - top, class: "river" });
      add("text", { x: (x + end) / 2, y: top - 7, class: "stage" }, narrow ? `${e + 1}` : `stage ${e + 1}`);
      if (branch && result.open[e]) {
        const thick = Math.max(branch, 2);
        add("rect", { x: end - thick, y: top, width: thick, height: reach - top, class: `fill${e}` });
      }
      const [out, floor] = [full * share, bottom + gap];
      const fall = `M${end} ${rest} C${end + out} ${rest} ${end + out} ${rest} ${end + out} ${bottom + 4} V${floor} H${end} Z`;
      add("path", { d: fall, class: `fall fill${e}` });
      const wrong = out * (1 - (result.number[e] ? result.right[e] / result.number[e] : 1));
      add("rect", { x: end, y: floor, width: out, height: bar, class: `fill${e}` });
      add("rect", { x: end + out - wrong, y: floor, width: wrong, height: bar, class: "wrong" });
      const moved = before ? result.number[e] - before.number[e] : 0;
      const right = result.number[e] ? percent(result.right[e] / result.number[e]) : "–";
      const lines = [
        [`exit ${e + 1}`, "name"],
        [percent(share), "share"],
        [narrow ? `✓ ${right}` : `${right} right`, ""],
        [moved ? `${signed(moved, 0)}` : "", "moved"],
      ];
      lines.forEach(([text, kind], row) =>
        add("text", { x: end, y: floor + bar + 15 + 15.5 * row, class: `word ${kind}` }, text),
      );
      edges.push(end);
      x = end;
    });
    if (before) {
      const steps = levels(before).flatMap(([reach], e) => [`${e ? edges[e - 1] : 0},${reach}`, `${edges[e]},${reach}`]);
      add("polyline", { points: steps.join(" "), class: "before" });
    }
    add("text", { x: 0, y: bottom + gap + 8, class: "word name" }, count(images));
    add("text", { x: 0, y: bottom + gap + 24, class: "word" }, narrow ? "images" : "test images");
    if (result.number.at(-1) < 0.8 * images)
      add("text", { x: edges.at(-1) - 8, y: bottom - 10, class: "not-computed" }, `${percent(result.reduction)} not computed`);
  });
}

/** What an exit delivers, class by class, against what it promised. */
function drawPromises(place, data, promises, exit) {
  const [row, names, low] = [17, 82, 0.5];
  const kept = promises.filter(({ state }) => state === "kept").length;
  const open = promises.filter(({ exits }) => exits).length;
  picture(place, row * promises.length + 20, `Exit ${exit + 1}: ${kept} of ${open} bars reached`, (width, add) => {
    const x = (share) => names + (Math.max(share, low) - low) * ((width - names - 24) / (1 - low));
    for (const tick of [0.5, 0.75, 1]) {
      add("line", { x1: x(tick), x2: x(tick), y1: 0, y2: row * promises.length, class: "grid" });
      add("text", { x: x(tick), y: row * promises.length + 13, class: "stage" }, percent(tick, 0));
    }
    promises.forEach(({ bar, exits, precision, low: from, high, state }, c) => {
      const y = row * (c + 0.5);
      add("text", { x: 0, y: y + 4, class: "word" }, data.classes[c]);
      if (!exits) return add("text", { x: x(0.52), y: y + 4, class: "word nobody" }, "nobody leaves");
      const text = `${data.classes[c]}: ${count(exits)} leave, ${percent(precision)} right, bar ${percent(bar)}: ${state}`;
      add("line", { x1: x(from), x2: x(high), y1: y, y2: y, class: `whisker ${state}` });
      if (!Number.isNaN(bar)) add("line", { x1: x(bar), x2: x(bar), y1: y - 6, y2: y + 6, class: "bar" });
      const [at, r] = [x(precision), 4];
      const cross = `M${at - r} ${y - r} l${2 * r} ${2 * r} m0 ${-2 * r} l${-2 * r} ${2 * r}`;
      if (state === "broken") add("path", { d: cross, class: "mark broken" }, element("title", {}, text));
      else add("circle", { cx: at, cy: y, r, class: `mark ${state}` }, element("title", {}, text));
    });
  });
}

/** Saved against lost: both rules with equal knobs, and where the sliders stand. */
function drawTrade(place, curves, trail) {
  const [left, bottom, tall] = [40, 34, 230];
  picture(place, tall, "Computation saved against accuracy lost", (width, add) => {
    const [right, top] = [3, 8];
    const lost = [...Object.values(curves).flat(), ...trail].map(({ drop }) => drop);
    const most = Math.min(Math.max(2, ...lost), 8);
    const least = Math.min(0, ...lost);
    const x = (saved) => left + Math.max(saved, 0) * (width - left - right);
    const y = (drop) => tall - bottom - ((Math.min(drop, most) - least) / (most - least)) * (tall - bottom - top);
    for (const tick of [0, 0.2, 0.4, 0.6, 0.8]) {
      add("line", { x1: x(tick), x2: x(tick), y1: top, y2: tall - bottom, class: "grid" });
      add("text", { x: x(tick), y: tall - bottom + 14, class: "stage" }, percent(tick, 0));
    }
    for (let tick = 0; tick <= most; tick += most > 4 ? 2 : 1) {
      add("line", { x1: left, x2: width - right, y1: y(tick), y2: y(tick), class: "grid" });
      add("text", { x: left - 6, y: y(tick) + 4, class: "tick" }, tick);
    }
    add("text", { x: (left + width) / 2, y: tall - 3, class: "stage" }, "computation saved");
    add("text", { transform: `translate(11 ${(tall - bottom) / 2}) rotate(-90)`, class: "stage" }, "points lost");
    const points = (states) => states.map(({ reduction, drop }) => `${x(reduction)},${y(drop)}`).join(" ");
    for (const [rule, states] of Object.entries(curves))
      add("polyline", { points: points(states.filter(({ drop }) => drop <= most)), class: `curve ${rule}` });
    add("polyline", { points: points(trail), class: "trail" });
    const here = trail.at(-1);
    add("circle", { cx: x(here.reduction), cy: y(here.drop), r: 7, class: "here" });
  });
}

// ---- The page. ----

const FRAME = `
  <div class="choices"></div>
  <p class="takeaway" aria-live="polite"></p>
  <div class="top">
    <div class="sliders"></div>
    <div class="flow-side">
      <div class="flow"></div>
      <p class="key"><span class="key-wrong"></span> wrong answers <span class="key-before"></span> before the last
        move. Length of the river: computation. Height: images.</p>
    </div>
  </div>
  <div class="tiles"></div>
  <section class="changed"><h3></h3><div class="images"></div></section>
  <div class="bottom">
    <section><h3 class="promise-title"></h3><p class="note promise-note"></p><div class="promises"></div></section>
    <section><h3>Saved against lost</h3><p class="note"><span class="key-CPM"></span> margin per class
      <span class="key-confidence"></span> one threshold, each with equal sliders;
      <span class="key-here"></span> yours.</p><div class="trade"></div></section>
  </div>`;
const CALIBRATIONS = { survivors: "survivors", full: "all validation images" };
const SHOWN = 24; // thumbnails at once
let instances = 0;

/** Fill an element with the explorer of some experiments; `start` and `changed` speak of its settings. */
export function explore(root, experiments, start = {}, changed = () => {}) {
  const find = (name) => root.querySelector(`.${name}`);
  const instance = (instances += 1);
  const decoded = {};
  const data = () => (decoded[settings.data] ??= decode(experiments.find(({ name }) => name === settings.data) ?? experiments[0]));
  const settings = { data: experiments[0].name, rule: "CPM", calibration: "survivors", knobs: [], ...start };
  const memory = { curves: {}, trail: [], before: null, result: null, moving: false };
  root.classList.add("margin-explorer");
  root.innerHTML = FRAME;

  function choice(key, title, options) {
    const buttons = Object.entries(options).map(([value, text]) => {
      const input = element("input", { type: "radio", name: `${key}-${instance}`, value });
      input.checked = settings[key] === value;
      input.addEventListener("change", () => {
        settings[key] = value;
        if (key !== "calibration") settings.knobs = [];
        restart();
      });
      return element("label", {}, input, element("span", {}, text));
    });
    return element("fieldset", {}, element("legend", {}, title), element("div", {}, ...buttons));
  }

  function slider(branch) {
    const rule = RULES[settings.rule];
    const [min, max] = rule.positions;
    const name = `${rule.knob} of branch ${branch + 1}`;
    const input = element("input", { type: "range", min, max, step: 1, "aria-label": name, class: `tint${branch}` });
    const output = element("output", {});
    input.value = rule.position(settings.knobs[branch]);
    const say = () => {
      output.textContent = `${rule.text(settings.knobs[branch])} ${rule.unit}`;
      input.setAttribute("aria-valuetext", output.textContent);
    };
    input.addEventListener("input", () => {
      if (!memory.moving) [memory.before, memory.moving] = [memory.result, true];
      const [old, value] = [memory.movedFrom ?? settings.knobs[branch], rule.value(Number(input.value))];
      memory.movedFrom = old;
      settings.knobs = settings.knobs.with(branch, value);
      say();
      update(`Branch ${branch + 1} from ${rule.text(old)} to ${rule.text(value)} ${rule.unit}`);
    });
    input.addEventListener("change", () => [memory.moving, memory.movedFrom] = [false, undefined]);
    say();
    const symbol = settings.rule === "CPM" ? "m" : "t";
    const title = element("b", {}, symbol, element("sub", {}, `${branch + 1}`));
    const ends = element("small", {}, element("span", {}, "stricter"), element("span", {}, "looser"));
    return element("label", { class: "slider" }, element("span", {}, title, ` branch ${branch + 1}`, output), input, ends);
  }

  /** Another experiment, rule or calibration: nothing moved yet. */
  function restart() {
    const rule = RULES[settings.rule];
    if (settings.knobs.length !== data().branches.length)
      settings.knobs = data().branches.map(() => rule.value(rule.start));
    Object.assign(memory, { before: null, trail: [], moving: false, movedFrom: undefined });
    find("sliders").replaceChildren(...data().branches.map((_, branch) => slider(branch)), reset());
    update("");
    setTimeout(compare, 50); // the curves take a moment: the rest stands first
  }

  function reset() {
    const button = element("button", { type: "button" }, "Back to the start");
    button.addEventListener("click", () => {
      settings.knobs = [];
      restart();
    });
    return button;
  }

  function update(moved) {
    memory.result = run(data(), settings);
    memory.trail.push(memory.result);
    memory.moved = moved;
    draw();
    changed(settings);
  }

  function compare() {
    const key = `${settings.data} ${settings.calibration}`;
    memory.curves[key] ??= Object.fromEntries(
      Object.entries(RULES).map(([rule, { positions, value }]) => [
        rule,
        Array.from({ length: positions[1] - positions[0] + 1 }, (_, step) => {
          const knobs = data().branches.map(() => value(positions[0] + step));
          const { reduction, drop } = run(data(), { rule, calibration: settings.calibration, knobs });
          return { reduction, drop };
        }),
      ]),
    );
    draw();
  }

  function draw() {
    const { result, before, trail } = memory;
    drawFlow(find("flow"), data(), result, before);
    drawTrade(find("trade"), memory.curves[`${settings.data} ${settings.calibration}`] ?? {}, trail.slice(-40));
    tell(result, before);
    tiles(result, before);
    promises(result);
    images(result, before);
  }

  function tell(result, before) {
    const numbers = ({ reduction, drop }) => [percent(reduction), signed(-drop, 2)];
    const [now, then] = [numbers(result), numbers(before ?? result)];
    const [saved, lost] = now.map((value, place) => (value === then[place] ? value : `${then[place]} → ${value}`));
    const movers = before ? count(before.exits.filter((exit, image) => exit !== result.exits[image]).length) : 0;
    const moved = before ? `${memory.moved}: ${movers} images change their exit. ` : "";
    find("takeaway").textContent = `${moved}${saved} of the computation saved, accuracy ${lost} points.`;
  }

  function tiles(result, before) {
    const all = result.promises.flat().filter(({ exits }) => exits);
    const of = (outcome, state) => outcome.promises.flat().filter((each) => each.state === state).length;
    const [kept, broken] = ["kept", "broken"].map((state) => of(result, state));
    const change = (now, then, text) => (before && Math.abs(now - then) > 1e-9 ? text(now - then) : "");
    const made = [
      ["saved", percent(result.reduction), "MACs saved", change(result.reduction, before?.reduction, (by) => signed(100 * by, 1))],
      ["lost", signed(-result.drop, 2), "points of accuracy", change(-result.drop, -before?.drop, (by) => signed(by, 2))],
      [
        broken ? "kept bad" : "kept",
        `${kept} of ${all.length}`,
        settings.rule === "CPM" ? `promises kept, ${broken} broken beyond chance` : "classes as precise as the backbone",
        change(kept, before && of(before, "kept"), (by) => signed(by, 0)),
      ],
    ].map(([kind, value, name, by]) =>
      element("div", { class: `tile ${kind}` }, element("b", {}, value), element("i", {}, by), element("span", {}, name)),
    );
    find("tiles").replaceChildren(...made);
  }

  function promises(result) {
    const bound = settings.rule === "CPM";
    find("promise-title").textContent = bound ? "Promised and delivered" : "One threshold promises nothing";
    find("promise-note").textContent =
      `The upright mark is ${bound ? "the precision promised" : "the backbone's own precision"} (on valid), ` +
      "the dot what test images get: ● reached, ○ missed, within chance, × missed beyond chance (95 % interval).";
    const places = result.promises.map((_, exit) =>
      element("div", {}, element("h4", { class: `ink${exit}` }, `exit ${exit + 1}`), element("div", {})),
    );
    find("promises").replaceChildren(...places);
    places.forEach((place, exit) => drawPromises(place.lastChild, data(), result.promises[exit], exit));
  }

  function images(result, before) {
    const { thumbnails, classes, test } = data();
    const movers = before ? [...result.exits.keys()].filter((image) => result.exits[image] !== before.exits[image]) : [];
    find("changed").querySelector("h3").textContent = movers.length
      ? `${count(movers.length)} images just changed their exit`
      : "Move a slider: the images that change their exit appear here";
    const shown = movers.filter((image) => image < thumbnails.number).slice(0, SHOWN);
    const cards = shown.map((image) => {
      const [column, row] = [image % thumbnails.columns, Math.floor(image / thumbnails.columns)];
      const mark = (outcome) => (outcome.answers[image] === test.labels[image] ? "✓" : "✗");
      const [from, to] = [before, result].map((outcome) => `${outcome.exits[image] + 1}${mark(outcome)}`);
      const text = `test image ${image}: ${classes[test.labels[image]]}; exit ${from} (${classes[before.answers[image]]}), now ${to} (${classes[result.answers[image]]})`;
      const tile = element("div", { role: "img", "aria-label": text, title: text });
      tile.style.backgroundImage = `url(${thumbnails.url})`;
      tile.style.backgroundSize = `${100 * thumbnails.columns}% ${100 * thumbnails.rows}%`;
      const [across, down] = [column / (thumbnails.columns - 1), row / (thumbnails.rows - 1)];
      tile.style.backgroundPosition = `${100 * across}% ${100 * down}%`;
      const worse = mark(before) === "✓" && mark(result) === "✗";
      return element("figure", worse ? { class: "worse" } : {}, tile, element("figcaption", {}, `${from} → ${to}`));
    });
    find("images").replaceChildren(...cards);
    if (movers.length)
      find("images").append(
        element("p", { class: "note" }, `Exit and ✓ right or ✗ wrong, before → now; framed: was right, is wrong. ` +
            `Pictures of those among the first ${thumbnails.number}. Numbers: `,
          movers.slice(0, 60).join(", "), movers.length > 60 ? ", …" : ""),
      );
  }

  find("choices").append(
    ...(experiments.length > 1
      ? [choice("data", "Images", Object.fromEntries(experiments.map(({ name, title }) => [name, title])))]
      : []),
    choice("rule", "Exit rule", Object.fromEntries(Object.entries(RULES).map(([key, { name }]) => [key, name]))),
    choice("calibration", "Thresholds set on", CALIBRATIONS),
  );
  restart();
  new ResizeObserver(() => memory.width !== (memory.width = root.clientWidth) && draw()).observe(root);
}

export default {
  render({ model, el }) {
    el.addEventListener("keydown", (event) => event.stopPropagation()); // or the lab takes the arrow keys
    const start = { rule: model.get("rule"), calibration: model.get("calibration"), knobs: model.get("knobs") };
    explore(el, [model.get("experiment")], start, ({ rule, calibration, knobs }) => {
      for (const [key, value] of Object.entries({ rule, calibration, knobs })) model.set(key, value);
      model.save_changes();
    });
  },
};
