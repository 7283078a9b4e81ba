(() => {
  const data = JSON.parse(document.getElementById("map-data").textContent);
  const box = document.getElementById("map");
  const canvas = box.querySelector("canvas");
  const card = box.querySelector(".map-card");
  const controls = document.getElementById("map-controls");
  const [find, which, colour] = controls.querySelectorAll("input, select");
  const counter = controls.querySelector("output");
  const paint = canvas.getContext("2d");
  const STEPS = 4095, CELL = 64;
  let map, view, fitted = true, matches = null, shown = -1, kept = false, queued = false;

  const style = (name) => getComputedStyle(box).getPropertyValue(name).trim();
  const dark = () => matchMedia("(prefers-color-scheme: dark)").matches;
  const hue = (i) => `hsl(${(i * 137.5) % 360} ${dark() ? "62% 66%" : "58% 42%"})`;
  const ramp = (t) => `hsl(${230 - 190 * t} 70% ${dark() ? 45 + 22 * t : 62 - 22 * t}%)`;

  // Points by cells of the map, to find the one under the pointer.
  const cells = () => {
    const found = new Map();
    for (let i = 0; i < map.x.length; i++) {
      const key = (map.x[i] >> 6) * CELL + (map.y[i] >> 6);
      if (!found.has(key)) found.set(key, []);
      found.get(key).push(i);
    }
    return found;
  };
  const middle = (numbers, names) => {
    const sums = names.map(() => [[], []]);
    numbers.forEach((n, i) => { sums[n][0].push(map.x[i]); sums[n][1].push(map.y[i]); });
    const median = (list) => list.sort((a, b) => a - b)[list.length >> 1];
    return sums.map(([x, y], n) => ({ name: names[n], size: x.length, x: median(x), y: median(y) }));
  };
  const colours = () => {
    const by = colour.value;
    if (by === "group") return map.group.map(hue);
    const place = new Map(); // by rank, so that every shade is used
    const real = map[by].filter((v) => v !== null).sort((a, b) => a - b);
    real.forEach((v, i) => place.set(v, i / real.length));
    return map[by].map((v) => (v === null ? style("--rule") : ramp(place.get(v))));
  };

  const choose = () => {
    map = data[which.value];
    map.cells ??= cells();
    map.names ??= [middle(map.group, map.groups), middle(map.cluster, map.clusters)];
    map.text ??= map.label.map((label, i) => `${map.feature[i]} ${label} ${map.words[i]}`.toLowerCase());
    map.paint = colours();
    hide();
    whole();
    search();
  };
  const size = () => {
    const ratio = devicePixelRatio || 1, place = canvas.getBoundingClientRect();
    canvas.width = Math.round(place.width * ratio);
    canvas.height = Math.round(place.height * ratio);
    paint.setTransform(ratio, 0, 0, ratio, 0, 0);
    return [place.width, place.height];
  };
  const whole = () => {
    const [width, height] = size();
    const wide = Math.max(...map.x) || 1, high = Math.max(...map.y) || 1;
    const scale = 0.94 * Math.min(width / wide, height / high);
    view = { scale, least: scale, x: (width - wide * scale) / 2, y: (height - high * scale) / 2 };
    fitted = true;
    draw();
  };
  const resize = () => { // the bar of a phone's browser comes and goes: the view stays
    if (fitted) whole();
    else { size(); draw(); }
  };
  const at = (i) => [map.x[i] * view.scale + view.x, map.y[i] * view.scale + view.y];

  const draw = () => {
    if (queued) return;
    queued = true;
    requestAnimationFrame(() => { queued = false; render(); });
  };
  const render = () => {
    const { width, height } = canvas.getBoundingClientRect();
    paint.clearRect(0, 0, width, height);
    const zoom = view.scale / view.least, radius = Math.min(6, 1.5 * Math.sqrt(zoom));
    const dot = (i, r) => {
      const [x, y] = at(i);
      if (x < -9 || y < -9 || x > width + 9 || y > height + 9) return;
      paint.beginPath();
      paint.arc(x, y, r, 0, 7);
      paint.fill();
    };
    paint.globalAlpha = matches ? 0.13 : 0.75;
    for (let i = 0; i < map.x.length; i++) { paint.fillStyle = map.paint[i]; dot(i, radius); }
    paint.globalAlpha = 1;
    for (const i of matches || []) { paint.fillStyle = map.paint[i]; dot(i, Math.max(3.5, radius)); }
    if (shown >= 0) {
      paint.strokeStyle = style("--ink");
      paint.lineWidth = 2;
      const [x, y] = at(shown);
      paint.beginPath();
      paint.arc(x, y, radius + 4, 0, 7);
      paint.stroke();
    }
    names(width, height, zoom);
  };
  // Names of groups, of clusters once they are large enough; none over another.
  const names = (width, height, zoom) => {
    const taken = [];
    const write = ({ name, x, y }, font, weight) => {
      paint.font = `${weight} ${font}px system-ui, sans-serif`;
      const px = x * view.scale + view.x, py = y * view.scale + view.y;
      const half = paint.measureText(name).width / 2 + 4;
      const left = Math.min(Math.max(px, half), width - half);
      const spot = [left - half, py - font, left + half, py + font * 0.5];
      if (py < 0 || py > height || px < 0 || px > width) return;
      if (taken.some((t) => spot[0] < t[2] && t[0] < spot[2] && spot[1] < t[3] && t[1] < spot[3])) return;
      taken.push(spot);
      paint.lineWidth = 4;
      paint.strokeStyle = style("--paper");
      paint.fillStyle = style("--ink");
      paint.textAlign = "center";
      paint.lineJoin = "round";
      paint.strokeText(name, left, py);
      paint.fillText(name, left, py);
    };
    const bySize = (list) => [...list].sort((a, b) => b.size - a.size);
    if (zoom < 6) for (const one of bySize(map.names[0])) write(one, 14, 650);
    if (zoom >= 2) for (const one of bySize(map.names[1])) write(one, 12, zoom < 6 ? 400 : 600);
    if (zoom >= 12) for (let i = 0; i < map.x.length; i++) if (map.label[i]) write({ name: map.label[i], x: map.x[i], y: map.y[i] + 9 / view.scale }, 11, 400);
  };

  const nearest = (px, py, reach) => {
    const x = (px - view.x) / view.scale, y = (py - view.y) / view.scale, r = reach / view.scale;
    let best = -1, least = r * r;
    for (let a = (x - r) >> 6; a <= (x + r) >> 6; a++) {
      for (let b = (y - r) >> 6; b <= (y + r) >> 6; b++) {
        for (const i of map.cells.get(a * CELL + b) || []) {
          if (matches && !matches.has(i)) continue;
          const far = (map.x[i] - x) ** 2 + (map.y[i] - y) ** 2;
          if (far < least) { least = far; best = i; }
        }
      }
    }
    return best;
  };
  const line = (name, value) => {
    const row = document.createElement("div"), head = document.createElement("dt"), cell = document.createElement("dd");
    head.textContent = name;
    cell.textContent = value;
    row.append(head, cell);
    return row;
  };
  const tell = (i) => {
    shown = i;
    const title = document.createElement("strong"), id = document.createElement("code"), facts = document.createElement("dl");
    title.textContent = map.label[i] || `fires on: ${map.words[i]}`;
    id.textContent = `${which.value}/${map.feature[i]}`;
    if (map.label[i]) facts.append(line("fires on", map.words[i]));
    facts.append(line("of tokens", `${(100 * map.density[i]).toPrecision(2)} %`));
    if (map.auroc[i] !== null) facts.append(line("label fits (AUROC)", map.auroc[i].toFixed(2)));
    if (map.abstract[i] !== null) {
      facts.append(line("concrete 0 to abstract 1", `${map.abstract[i].toFixed(2)} (the token decides ${Math.round(100 * map.by_token[i])} %, ${map.words_num[i]} words)`));
    }
    facts.append(line("group", `${map.groups[map.group[i]]} › ${map.clusters[map.cluster[i]]}`));
    card.replaceChildren(title, id, facts);
    card.hidden = false;
    draw();
  };
  const hide = () => { shown = -1; kept = false; card.hidden = true; draw(); };

  const search = () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    matches = null;
    if (words.length) {
      matches = new Set();
      map.text.forEach((text, i) => { if (words.every((word) => text.includes(word))) matches.add(i); });
    }
    counter.value = matches ? `${matches.size} of ${map.x.length} features` : `${map.x.length} features`;
    if (matches?.size === 1) tell([...matches][0]);
    draw();
  };

  const fingers = new Map();
  let moved = 0;
  const local = (event) => {
    const place = canvas.getBoundingClientRect();
    return [event.clientX - place.left, event.clientY - place.top];
  };
  const zoomAt = (x, y, factor) => {
    const scale = Math.min(Math.max(view.scale * factor, view.least * 0.8), view.least * 60);
    view.x = x - ((x - view.x) * scale) / view.scale;
    view.y = y - ((y - view.y) * scale) / view.scale;
    view.scale = scale;
    fitted = false;
    draw();
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, local(event));
    moved = 0;
  });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = local(event), before = fingers.get(event.pointerId);
    if (!before) {
      if (kept || event.pointerType === "touch") return;
      const i = nearest(x, y, 10);
      if (i >= 0 && i !== shown) tell(i);
      else if (i < 0 && shown >= 0) hide();
      return;
    }
    const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const apart = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]) || 1;
      zoomAt((x + other[0]) / 2, (y + other[1]) / 2, apart([x, y], other) / apart(before, other));
      moved = 99;
    } else {
      view.x += x - before[0];
      view.y += y - before[1];
      fitted = false;
      moved += Math.abs(x - before[0]) + Math.abs(y - before[1]);
      draw();
    }
    fingers.set(event.pointerId, [x, y]);
  });
  const lift = (event) => {
    fingers.delete(event.pointerId);
    if (event.type !== "pointerup" || moved > 6) return;
    const i = nearest(...local(event), event.pointerType === "touch" ? 22 : 10);
    if (i < 0) hide();
    else { tell(i); kept = true; }
  };
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoomAt(...local(event), Math.exp(-event.deltaY / 400));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const { width, height } = canvas.getBoundingClientRect();
    const by = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] }[event.key];
    if (by) { view.x += by[0]; view.y += by[1]; fitted = false; draw(); event.preventDefault(); }
    if (event.key === "+" || event.key === "-") zoomAt(width / 2, height / 2, event.key === "+" ? 1.4 : 1 / 1.4);
    if (event.key === "Escape") hide();
  });
  find.addEventListener("input", search);
  which.addEventListener("change", choose);
  colour.addEventListener("change", () => { map.paint = colours(); draw(); });
  controls.querySelector("button").addEventListener("click", whole);
  addEventListener("resize", resize);
  choose();
})();
