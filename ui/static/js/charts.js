// Charts of the last hour (uPlot): loaded once from /charts/…, then kept up by the measurements of the event stream.
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];
const HOUR_S = 3600;
const STEP_S = 10;

export function size(value) {
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < UNITS.length - 1) { value /= 1024; unit++; }
  return (value === Math.round(value) || value >= 100 ? value.toFixed(0) : value.toFixed(1)) + "\u00a0" + UNITS[unit];
}

const SAY = {
  percent: (value) => Math.round(value) + "\u00a0%",
  size,
  rate: (value) => size(value) + "/s",
};

const colour = (name) => {
  const probe = document.createElement("i");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
};

const soft = (rgb, alpha) => rgb.replace("rgb(", "rgba(").replace(")", `, ${alpha})`);

// Steps of an axis of bytes are powers of two, so that its labels are round.
const BINARY = [];
for (let power = 0; power < 50; power++) BINARY.push(2 ** power);

export async function charts() {
  const found = [...document.querySelectorAll("[data-chart]")];
  if (!found.length || !window.uPlot) return;
  const loads = new Map();
  for (const figure of found) {
    const url = figure.dataset.chart;
    if (!loads.has(url)) loads.set(url, fetch(url).then((answer) => (answer.ok ? answer.json() : { time: [] })));
    const chart = new Chart(figure, await loads.get(url));
    document.addEventListener("usage", (event) => chart.add(event.detail));
    window.addEventListener("resize", () => chart.resize());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => chart.draw());
  }
}

class Chart {
  constructor(figure, columns) {
    this.figure = figure;
    this.box = figure.querySelector(".plot");
    this.fields = figure.dataset.fields.split(",");
    this.labels = figure.dataset.labels.split("|");
    this.say = SAY[figure.dataset.unit];
    this.data = [columns.time, ...this.fields.map((field) => columns[field])].map((column) => [...(column ?? [])]);
    this.draw();
  }

  get now() { return this.data[0].at(-1) ?? 0; }

  draw() {
    this.plot?.destroy();
    this.plot = null;
    if (this.data[0].length < 2) return;
    this.box.replaceChildren();
    const ink = colour("--text-3");
    const grid = colour("--chart-grid");
    const binary = this.figure.dataset.unit !== "percent";
    const say = this.say;
    const series = this.labels.map((label, index) => {
      const stroke = colour(`--series-${index + 1}`);
      return { label, stroke, width: 1.5, fill: index ? undefined : soft(stroke, 0.1), points: { show: false }, value: (_, value) => (value == null ? "–" : say(value)) };
    });
    const axis = { stroke: ink, font: "11px ui-sans-serif, system-ui, sans-serif", grid: { stroke: grid, width: 1 }, ticks: { show: false } };
    const top = Number(this.figure.dataset.max) || 0;
    this.plot = new uPlot({
      width: this.box.clientWidth,
      height: 150,
      padding: [8, 4, 0, 0],
      legend: { show: false },
      cursor: { y: false, sync: { key: "hour" }, points: { size: 6 }, drag: { x: false, y: false } },
      scales: {
        x: { time: true, range: () => [Math.max(this.now - HOUR_S, Math.min(this.data[0][0], this.now - 120)), this.now] },
        y: { range: (_, low, high) => [0, top || Math.max(high * 1.15, binary ? 1024 : 10)] },
      },
      axes: [
        { ...axis, size: 22, space: 70, incrs: [60, 120, 300, 600, 900, 1800], values: (_, ticks) => ticks.map((tick) => new Date(tick * 1000).toTimeString().slice(0, 5)) },
        { ...axis, size: { percent: 46, size: 58, rate: 70 }[this.figure.dataset.unit], space: 34, gap: 6, incrs: binary ? BINARY : undefined, values: (_, ticks) => ticks.map((tick) => say(tick)) },
      ],
      series: [{}, ...series],
      hooks: { setCursor: [(plot) => this.tell(plot.cursor.idx)] },
    }, this.data, this.box);
    this.tell(null);
  }

  // The value under the cursor, or the last one.
  tell(index) {
    const at = index ?? this.data[0].length - 1;
    const values = this.fields.map((_, series) => this.data[series + 1][at]);
    this.figure.querySelector(".now").textContent = values.every((value) => value == null) ? "" : values.map((value) => this.say(value)).join("  ·  ");
  }

  add({ at, now }) {
    if (!now) return;
    const slot = Math.floor(at / STEP_S) * STEP_S;
    const fresh = slot !== this.now;
    if (fresh) this.data[0].push(slot);
    this.fields.forEach((field, index) => {
      const column = this.data[index + 1];
      if (fresh) column.push(now[field] ?? 0);
      else column[column.length - 1] = now[field] ?? 0;
    });
    while (this.data[0].length > HOUR_S / STEP_S) for (const column of this.data) column.shift();
    if (this.plot) { this.plot.setData(this.data); this.tell(null); } else this.draw();
  }

  resize() {
    this.plot?.setSize({ width: this.box.clientWidth, height: 150 });
  }
}
