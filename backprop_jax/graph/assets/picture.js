// Draws a picture of the way back, laid out by dagre; a click folds and unfolds. Texts are put in as
// text, never as markup.
"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const HEAD = 22, LINE = 15, PAD = 9, MOST = 400;
  const measure = document.createElement("canvas").getContext("2d");

  const width = (text, bold) => {
    measure.font = bold ? "600 12.5px system-ui, -apple-system, 'Segoe UI', sans-serif"
      : "11px system-ui, -apple-system, 'Segoe UI', sans-serif";
    return measure.measureText(text).width;
  };
  const make = (parent, tag, attributes = {}, text) => {
    const element = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    parent.appendChild(element);
    return element;
  };
  const html = (parent, tag, className, text) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    parent.appendChild(element);
    return element;
  };
  const fitting = (text, room) => {
    if (width(text, true) <= room) return text;
    let end = text.length;
    while (end > 1 && width(`${text.slice(0, end)}…`, true) > room) end--;
    return `${text.slice(0, end)}…`;
  };
  const short = (x) => {
    if (typeof x !== "number") return String(x);
    if (x === 0 || (Math.abs(x) >= 1e-4 && Math.abs(x) < 1e6)) return String(Number(x.toPrecision(3)));
    const [digits, power] = x.toExponential(2).split("e");
    return `${Number(digits)}e${Number(power)}`;
  };

  class Picture {
    constructor(root) {
      this.root = root;
      const data = JSON.parse(root.querySelector("script[type='application/json']").textContent);
      this.sums = data.sums;
      this.edges = data.edges.map(([start, end, value, norm, label, again]) =>
        ({start, end, value, norm, label, again}));
      this.nodes = new Map(data.nodes.map((node) => [node.name, node]));
      this.children = new Map([["", []]]);
      for (const node of data.nodes) {
        this.children.set(node.name, []);
        this.children.get(node.parent).push(node);
      }
      this.folds = data.nodes.filter((node) => this.children.get(node.name).length);
      this.atFirst = new Set(this.folds.filter((node) => node.opened).map((node) => node.name));
      this.open = new Set(this.atFirst);
      const gradients = data.nodes.map((node) => node.grad).filter((g) => g > 0);
      this.largest = Math.max(...gradients, 0);
      this.least = Math.min(...gradients, this.largest);
      this.zoom = 0;
      this.controls();
      this.draw();
    }

    // -- what is seen ------------------------------------------------------------------------

    seen() {
      const standsFor = new Map([["", ""]]), drawn = [];
      for (const node of this.nodes.values()) {
        const holder = standsFor.get(node.parent);
        const hidden = node.parent !== "" && (holder !== node.parent || !this.open.has(holder));
        standsFor.set(node.name, hidden ? holder : node.name);
        if (!hidden) drawn.push(node);
      }
      const flows = new Map();
      for (const edge of this.edges) {
        const start = standsFor.get(edge.start), end = standsFor.get(edge.end);
        if (start === end) continue;
        const key = `${start} ${end} ${edge.again}`;
        if (!flows.has(key)) flows.set(key, {start, end, again: edge.again, each: []});
        flows.get(key).each.push(edge);
      }
      return [drawn, [...flows.values()].map((flow) => this.together(flow))];
    }

    together({start, end, again, each}) {
      if (each.length === 1) return {...each[0], start, end};
      const values = new Map();
      for (const edge of each) values.set(edge.value, [...(values.get(edge.value) || []), edge.norm]);
      const parts = [...values].map(([value, norms]) =>
        norms.length === 1 ? norms[0] : this.sums[`${value} ${end}`] ?? Math.hypot(...norms));
      const norm = Math.hypot(...parts);
      return {start, end, again, norm, label: `← |${short(norm)}|`};
    }

    isFold(node) { return this.children.get(node.name).length > 0; }

    // -- layout ------------------------------------------------------------------------------

    sizes(node) {
      const lines = node.lines, title = this.isFold(node) ? `▸ ${node.title}` : node.title;
      const wide = Math.max(width(title, true), ...lines.map((line) => width(line)));
      if (node.kind === "operation") return [Math.max(34, width(title, true) + 24), 28];
      return [Math.max(56, wide + 2 * PAD + 4), HEAD + lines.length * LINE + (lines.length ? 7 : 2)];
    }

    layout(direction, nodes, edges) {
      const graph = new dagre.graphlib.Graph({compound: true, multigraph: true});
      graph.setGraph({rankdir: direction, nodesep: 22, edgesep: 12, ranksep: 26, marginx: 14, marginy: 14});
      graph.setDefaultEdgeLabel(() => ({}));
      for (const node of nodes) {
        const [w, h] = this.sizes(node);
        graph.setNode(node.name, this.open.has(node.name) ? {} : {width: w, height: h});
      }
      for (const node of nodes) if (node.parent) graph.setParent(node.name, node.parent);
      edges.forEach((edge, i) => {
        if (edge.again) return; // Drawn beside what stands in order.
        const lines = edge.label ? edge.label.split("\n") : [];
        const w = Math.max(0, ...lines.map((line) => width(line) + 8));
        const label = {width: w, height: lines.length * 13, labelpos: "c", weight: 2};
        graph.setEdge(edge.start, edge.end, label, String(i));
      });
      dagre.layout(graph);
      this.spread(graph, nodes);
      return graph;
    }

    // Makes room for the titles of frames: all that is below the top of one moves down.
    spread(graph, nodes) {
      const places = nodes.map((node) => [node, graph.node(node.name)]);
      const frames = places.filter(([node]) => this.open.has(node.name)).map(([, place]) => place);
      const tops = frames.map(({y, height}) => y - height / 2).sort((a, b) => a - b);
      const down = (y) => y + 20 * tops.filter((top) => top < y - 0.5).length;
      for (const [node, place] of places) {
        if (this.open.has(node.name)) {
          const top = place.y - place.height / 2;
          const from = down(top), to = down(place.y + place.height / 2);
          Object.assign(place, {y: (from + to) / 2, height: to - from});
        } else place.y = down(place.y);
      }
      for (const name of graph.edges()) {
        const edge = graph.edge(name);
        edge.y = down(edge.y);
        for (const point of edge.points) point.y = down(point.y);
      }
      graph.graph().height += 20 * tops.length;
    }

    // What goes to the next trip of a loop: an arc on the right.
    arc(start, end, i) {
      const from = {x: start.x + start.width / 2, y: start.y}, to = {x: end.x + end.width / 2, y: end.y};
      const out = Math.max(from.x, to.x) + 34 + 12 * (i % 4), r = 12;
      const up = from.y > to.y ? -1 : 1, flat = Math.abs(from.y - to.y) < 2 * r;
      const y = flat ? from.y + 16 : to.y;
      const points = [from, {x: out - r, y: from.y}, {x: out, y: from.y}, {x: out, y: from.y + up * r},
        {x: out, y: y - up * r}, {x: out, y}, {x: out - r, y}, {...to, y}];
      return {points, x: out, y: (from.y + y) / 2};
    }

    draw() {
      const [nodes, edges] = this.seen();
      const room = this.canvas.clientWidth - 4;
      let graph = null;
      if (nodes.length <= 26 && !nodes.some((node) => this.open.has(node.name))) {
        graph = this.layout("LR", nodes, edges);
        if (graph.graph().width > room) graph = null;
      }
      graph = graph || this.layout("TB", nodes, edges);
      const frames = nodes.filter((node) => this.open.has(node.name));
      const {width: w, height: h} = graph.graph();
      const scale = Math.max(0.62, Math.min(1, room / w)) * 1.2 ** this.zoom;
      this.svg.replaceChildren();
      this.svg.setAttribute("viewBox", `0 0 ${w} ${h}`);
      this.svg.setAttribute("width", w * scale);
      this.svg.setAttribute("height", h * scale);
      this.svg.style.display = "block";
      this.svg.style.margin = "0 auto";
      const marker = make(make(this.svg, "defs"), "marker",
        {id: this.tip, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7,
          markerUnits: "userSpaceOnUse", orient: "auto"});
      make(marker, "path", {d: "M0 0.5L8 4L0 7.5z", class: "tip"});
      this.places = new Map();
      for (const node of frames) this.frame(node, graph.node(node.name));
      this.drawn = edges.map((edge, i) => this.edge(edge, edge.again
        ? this.arc(graph.node(edge.start), graph.node(edge.end), i)
        : graph.edge(edge.start, edge.end, String(i))));
      this.plates = [];
      const last = [...this.drawn].sort((a, b) => Number(a.edge.again) - Number(b.edge.again));
      for (const {edge, group, place} of last) this.label(edge, group, place);
      for (const node of nodes) if (!this.open.has(node.name)) this.box(node, graph.node(node.name));
      this.root.dataset.boxes = nodes.length - frames.length;
      this.find();
    }

    frame(node, {x, y, width: w, height: h}) {
      const left = x - w / 2, top = y - h / 2;
      const group = make(this.svg, "g", {class: "frame", ...this.reachable(node, true)});
      make(group, "rect", {class: "box", x: left, y: top, width: w, height: h, rx: 10});
      make(group, "rect", {class: "grip", x: left, y: top, width: w, height: 24, rx: 10});
      const loop = node.lines[0] && node.lines[0].includes("trip") ? ` · ${node.lines[0]}` : "";
      make(group, "text", {class: "title", x: left + 10, y: top + 17}, fitting(`▾ ${node.title}${loop}`, w - 20));
      this.listen(group, node);
      this.places.set(node.name, {x, y: top});
    }

    box(node, {x, y, width: w, height: h}) {
      const left = x - w / 2, top = y - h / 2, fold = this.isFold(node);
      const result = node.result ? " result" : "";
      const group = make(this.svg, "g", {class: `node ${node.kind}${result}`, ...this.reachable(node, fold)});
      const [round, at] = [node.kind === "operation" ? 14 : 7, {x: left, y: top, width: w, height: h}];
      if (fold) make(group, "rect", {class: "under", ...at, x: left + 4, y: top + 4, rx: round});
      make(group, "rect", {class: "shape", ...at, rx: round});
      const title = fold ? `▸ ${node.title}` : node.title;
      if (node.kind === "step") {
        const r = round - 0.5, bottom = top + HEAD - 2;
        make(group, "path", {class: "head", d: `M${left} ${bottom}V${top + r}Q${left} ${top} ${left + r} ${top}` +
          `H${left + w - r}Q${left + w} ${top} ${left + w} ${top + r}V${bottom}Z`});
      }
      const middle = node.kind === "operation" ? y + 4.5 : top + 15;
      make(group, "text", {class: "title", x, y: middle, "text-anchor": "middle"}, title);
      node.lines.forEach((line, i) => make(group, "text",
        {x, y: top + HEAD + 12 + i * LINE, "text-anchor": "middle"}, line));
      if (fold && node.grad > 0 && this.largest > this.least) {
        const share = Math.log(node.grad / this.least) / Math.log(this.largest / this.least);
        make(group, "rect", {class: "rail", x: left + 8, y: top + h - 5, width: w - 16, height: 2.5, rx: 1});
        make(group, "rect", {class: "meter", x: left + 8, y: top + h - 5, height: 2.5, rx: 1,
          width: Math.max(2, (w - 16) * share)});
      }
      this.listen(group, node);
      this.places.set(node.name, {x, y: top, group});
    }

    edge(edge, place) {
      const group = make(this.svg, "g", {class: edge.again ? "edge again" : "edge"});
      const way = place.points;
      let d = `M${way[0].x} ${way[0].y}`;
      for (let i = 1; i < way.length - 1; i++) {
        const mid = {x: (way[i].x + way[i + 1].x) / 2, y: (way[i].y + way[i + 1].y) / 2};
        const end = i === way.length - 2 ? way[i + 1] : mid;
        d += `Q${way[i].x} ${way[i].y} ${end.x} ${end.y}`;
      }
      if (way.length === 2) d += `L${way[1].x} ${way[1].y}`;
      const thick = edge.norm > 0 && this.largest > 0 ? 2.6 + 0.45 * Math.log10(edge.norm / this.largest) : 1.2;
      make(group, "path", {d, "stroke-width": Math.max(0.8, Math.min(2.6, thick)), "marker-end": `url(#${this.tip})`});
      return {edge, group, place};
    }

    label(edge, group, {x, y, points}) {
      if (!edge.label) return;
      const lines = edge.label.split("\n"), w = Math.max(...lines.map((line) => width(line))) + 4;
      const h = 13 * lines.length;
      if (edge.again) {
        // It slides along its arc to where no other one stands.
        const room = Math.abs(points[0].y - points[points.length - 1].y) / 2 - h;
        const free = (at) => this.plates.every((one) =>
          Math.abs(one.x - x) > (one.w + w) / 2 || Math.abs(one.y - at) > (one.h + h) / 2);
        const ways = [0, 16, -16, 32, -32, 48, -48].filter((by) => Math.abs(by) <= room);
        y += ways.find((by) => free(y + by)) || 0;
      }
      this.plates.push({x, y, w, h});
      make(group, "rect", {class: "plate", x: x - w / 2, y: y - h / 2, width: w, height: h, rx: 4});
      lines.forEach((line, i) => make(group, "text", {x, "text-anchor": "middle",
        y: y + 4 + (i - (lines.length - 1) / 2) * 13}, line));
    }

    // -- what the user does ------------------------------------------------------------------

    reachable(node, fold) {
      const told = [node.title, ...node.lines].join(", ");
      const role = fold ? {role: "button", "aria-expanded": String(this.open.has(node.name))} : {role: "img"};
      return {tabindex: 0, "aria-label": told, "data-name": node.name, ...role};
    }

    listen(group, node) {
      group.addEventListener("mouseenter", () => this.look(node));
      group.addEventListener("focus", () => this.look(node));
      if (this.isFold(node)) group.addEventListener("click", () => this.toggle(node));
      group.addEventListener("keydown", (event) => {
        if (this.isFold(node) && (event.key === "Enter" || event.key === " ")) {
          event.preventDefault();
          this.toggle(node);
        } else if (event.key === "Escape" && node.parent) {
          this.toggle(this.nodes.get(node.parent));
        }
      });
    }

    toggle(node) {
      const before = this.places.get(node.name), scale = this.scale();
      const from = {left: this.canvas.scrollLeft, top: this.canvas.scrollTop};
      if (!this.open.delete(node.name)) this.open.add(node.name);
      this.draw();
      const after = this.places.get(node.name);
      if (before && after) { // What was clicked stays where it was.
        this.canvas.scrollLeft = from.left + (after.x * this.scale() - before.x * scale);
        this.canvas.scrollTop = from.top + (after.y * this.scale() - before.y * scale);
      }
      this.focus(node.name);
    }

    scale() { return Number(this.svg.getAttribute("width")) / this.svg.viewBox.baseVal.width; }

    focus(name) {
      const element = [...this.svg.querySelectorAll("[data-name]")].find((e) => e.dataset.name === name);
      if (element) element.focus({preventScroll: true});
    }

    level(more) {
      const next = new Set(this.open);
      if (more) {
        for (const fold of this.folds) {
          if (fold.kind !== "operands" && (!fold.parent || this.open.has(fold.parent))) next.add(fold.name);
        }
      } else {
        for (const fold of this.folds) {
          if (!this.children.get(fold.name).some((child) => this.open.has(child.name))) next.delete(fold.name);
        }
      }
      const before = this.open;
      this.open = next;
      if (more && this.seen()[0].length > MOST) {
        this.open = before;
        this.say(`That would be more than ${MOST} boxes: unfold one with a click.`);
        return;
      }
      this.draw();
    }

    say(text) {
      this.side.replaceChildren();
      html(this.side, "p", "hint", text);
    }

    controls() {
      const bar = html(this.root, "div", "bar");
      const button = (text, title, act) => {
        const element = html(bar, "button", "", text);
        element.type = "button";
        element.title = title;
        element.addEventListener("click", act);
      };
      if (this.folds.length) {
        button("Unfold", "one level more", () => this.level(true));
        button("Fold", "one level less", () => this.level(false));
        button("As at first", "the folds as they were", () => {
          this.open = new Set(this.atFirst);
          this.zoom = 0;
          this.draw();
        });
      }
      button("+", "larger", () => { this.zoom++; this.draw(); });
      button("−", "smaller", () => { this.zoom--; this.draw(); });
      this.search = html(bar, "input");
      this.search.type = "search";
      this.search.placeholder = "Search (Enter: go there)";
      this.search.setAttribute("aria-label", "Search boxes");
      this.search.addEventListener("input", () => this.find());
      this.search.addEventListener("keydown", (event) => { if (event.key === "Enter") this.go(); });
      button("◐", "light or dark", () => {
        const dark = matchMedia("(prefers-color-scheme: dark)").matches;
        const now = this.root.dataset.theme || (dark ? "dark" : "light");
        const page = document.querySelectorAll(".bp");
        page.forEach((each) => { each.dataset.theme = now === "dark" ? "light" : "dark"; });
      });
      const kinds = new Set([...this.nodes.values()].map((node) => node.kind));
      const legend = html(bar, "div", "legend");
      for (const [name, text, shown] of [["operand", "argument", true], ["value", "value", true],
        ["operation", "operation", true], ["fold", "folded: click", kinds.has("fold")]]) {
        if (!shown) continue;
        const entry = html(legend, "span", "", text), box = document.createElement("i");
        box.style.cssText = `background:var(--${name});border-color:var(--${name}-line)`;
        entry.prepend(box);
      }
      if (kinds.has("fold")) html(legend, "span", "", "orange line: gradient, log scale");
      html(legend, "span", "", "←: what flows back");
      const main = html(this.root, "div", "main");
      this.canvas = html(main, "div", "canvas");
      this.side = html(main, "aside", "side");
      this.side.setAttribute("aria-live", "polite");
      this.say("Point at a box to see its numbers." + (this.folds.length
        ? " A click on a folded one, or Enter, unfolds it; a click on the frame's title folds it again." : ""));
      this.svg = make(this.canvas, "svg", {role: "group", "aria-label": "the backward pass"});
      this.tip = `bp-tip-${[...document.querySelectorAll(".bp")].indexOf(this.root)}`;
      this.root.classList.add("ready");
    }

    matching() {
      const wanted = this.search.value.trim().toLowerCase();
      if (!wanted) return [];
      return [...this.nodes.values()].filter((node) =>
        [node.title, ...node.lines, ...node.details.flat()].join(" ").toLowerCase().includes(wanted));
    }

    find() {
      const found = this.matching(), seen = new Set();
      for (let node of found) {
        while (node && !(this.places.get(node.name) || {}).group) node = this.nodes.get(node.parent);
        if (node) seen.add(node.name);
      }
      for (const [name, {group}] of this.places) if (group) {
        group.classList.toggle("found", seen.has(name));
        group.classList.toggle("dim", Boolean(this.search.value.trim()) && !seen.has(name));
      }
    }

    go() {
      const found = this.matching().filter((node) => !this.isFold(node));
      if (!found.length) return;
      this.at = this.last === this.search.value ? (this.at + 1) % found.length : 0;
      this.last = this.search.value;
      for (let up = found[this.at].parent; up; up = this.nodes.get(up).parent) this.open.add(up);
      this.draw();
      const {group} = this.places.get(found[this.at].name);
      group.scrollIntoView({block: "center", inline: "center"});
      this.look(found[this.at]);
    }

    look(node) {
      for (const {edge, group} of this.drawn) {
        group.classList.toggle("lit", edge.start === node.name || edge.end === node.name);
      }
      this.side.replaceChildren();
      html(this.side, "h3", "", node.title);
      for (const line of node.kind === "fold" || node.kind === "step" ? node.lines : []) html(this.side, "div", "", line);
      const list = html(this.side, "dl");
      for (const [key, text] of node.details) {
        html(list, "dt", "", key);
        html(list, "dd", "", text);
      }
      if (node.trips.length) this.trips(node.trips);
      for (const summary of node.summaries) this.histogram(...summary);
    }

    histogram(name, kind, bad, least, mean, most, norm, counts) {
      const figure = html(this.side, "figure");
      const told = [kind, mean === null ? "" : `mean ${short(mean)}`, norm === null ? "" : `norm ${short(norm)}`,
        bad ? `${bad} not finite` : ""].filter(Boolean).join(", ");
      html(figure, "div", "", `${name}: ${told}`);
      if (!counts.length) return;
      this.columns(figure, counts, name);
      const caption = html(figure, "figcaption");
      html(caption, "span", "", short(least));
      html(caption, "span", "", short(most));
    }

    columns(figure, heights, name) {
      const most = Math.max(...heights), step = 100 / heights.length;
      const svg = make(figure, "svg", {viewBox: "0 0 100 40", preserveAspectRatio: "none", class: `bins ${name}`});
      heights.forEach((height, i) => {
        const h = height > 0 ? Math.max(1, 40 * height / most) : 0;
        make(svg, "rect", {x: i * step + step * 0.06, y: 40 - h, width: step * 0.88, height: h});
      });
    }

    trips(norms) {
      const figure = html(this.side, "figure"), good = norms.filter((x) => x > 0);
      html(figure, "div", "", "norm of the gradient in each trip, log scale");
      const least = Math.log(Math.min(...good)), most = Math.log(Math.max(...good));
      const range = Math.max(most - least, 1e-9);
      this.columns(figure, norms.map((x) => x > 0 ? 0.1 + 0.9 * (Math.log(x) - least) / range : 0), "gradient");
      const caption = html(figure, "figcaption");
      html(caption, "span", "", `first ${short(norms[0])}`);
      html(caption, "span", "", `last ${short(norms[norms.length - 1])}`);
    }
  }

  const start = () => document.querySelectorAll(".bp:not(.ready)").forEach((root) => {
    root.picture = new Picture(root);
    addEventListener("resize", () => root.picture.draw());
  });
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
