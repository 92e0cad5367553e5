// What pages do beyond showing text: sort, filter, open and close, and draw charts that tell numbers when pointed at.
// Everything is there without it. Nothing is fetched: data stand in the pages, the library beside this file.
"use strict";

(() => {
  const root = document.documentElement;
  root.classList.remove("no-script");

  const missingLast = (a, b, sign) => {
    const none = (x) => x === null || Number.isNaN(x);
    if (none(a) || none(b)) return none(a) - none(b);
    return sign * (a < b ? -1 : a > b ? 1 : 0);
  };

  const sortButton = (cell, act) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    while (cell.firstChild) button.append(cell.firstChild);
    cell.append(button);
    cell.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const up = cell.getAttribute("aria-sort") !== "ascending";
      for (const other of cell.parentNode.children) {
        if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
      }
      cell.setAttribute("aria-sort", up ? "ascending" : "descending");
      act(up ? 1 : -1);
    });
  };

  // ---- tables

  const valueOf = (cell, kind) => {
    const text = cell.dataset.value !== undefined ? cell.dataset.value : cell.textContent.trim();
    if (kind !== "number") return text.toLowerCase();
    if (text === "" || text === "None" || text === "n/a") return null;
    return Number.parseFloat(text.replace(/[,\s]/g, "").replace("\u2212", "-").replace("<", ""));
  };

  const sortable = (table) => {
    const body = table.tBodies[0];
    if (!body || body.rows.length < 2) return;
    [...table.tHead.rows[0].cells].forEach((cell, place) => {
      if (!cell.dataset.sort) return;
      sortButton(cell, (sign) => {
        const rows = [...body.rows].map((row) => [valueOf(row.cells[place], cell.dataset.sort), row]);
        rows.sort((a, b) => missingLast(a[0], b[0], sign));
        body.append(...rows.map((pair) => pair[1]));
      });
    });
  };
  document.querySelectorAll("table.sortable").forEach(sortable);

  // ---- the board of claims

  const PAGE = 60;

  const board = () => {
    const table = document.getElementById("board");
    if (!table) return;
    const filters = document.getElementById("filters");
    const search = document.getElementById("search");
    const study = document.getElementById("study");
    const surprises = document.getElementById("surprises");
    const more = document.getElementById("more");
    const shown = document.getElementById("shown");
    const groups = [...table.tBodies];
    const home = new Map(groups.map((group) => [group, [...group.rows].slice(1)]));
    const claims = groups.flatMap((group) => home.get(group));
    const text = new Map(claims.map((row) => [row, `${row.textContent} ${groups[row.dataset.study].rows[0].textContent}`.toLowerCase()]));
    const flat = document.createElement("tbody");
    flat.setAttribute("role", "rowgroup");
    let limit = PAGE;
    let isFlat = false;

    const accepted = (row) => {
      const verdicts = new Set([...filters.querySelectorAll("[name=verdict]:checked")].map((box) => box.value));
      return (
        (!row.dataset.verdict || verdicts.has(row.dataset.verdict)) &&
        (study.value === "" || row.dataset.study === study.value) &&
        (!surprises.checked || row.dataset.surprise === "0") &&
        search.value.toLowerCase().split(/\s+/).every((word) => text.get(row).includes(word))
      );
    };
    const isFiltering = () =>
      search.value.trim() !== "" || study.value !== "" || surprises.checked ||
      filters.querySelector("[name=verdict]:not(:checked)") !== null;

    const show = () => {
      const kept = claims.filter(accepted);
      const keep = new Set(kept);
      for (const row of claims) row.classList.toggle("filtered", !keep.has(row));
      if (isFlat) {
        let place = 0;
        for (const row of flat.rows) {
          row.hidden = !keep.has(row) || place >= limit;
          place += keep.has(row);
        }
        more.hidden = kept.length <= limit;
      } else {
        // A filter opens what it finds: else a match would stay out of sight.
        const opened = isFiltering();
        for (const group of groups) {
          const rows = home.get(group);
          const any = rows.some((row) => keep.has(row));
          const open = any && (group.dataset.open === "yes" || (opened && kept.length <= 200));
          group.hidden = !any;
          group.querySelector("button.toggle").setAttribute("aria-expanded", String(open));
          for (const row of rows) row.hidden = !open || !keep.has(row);
        }
        more.hidden = true;
      }
      const n = kept.filter((row) => row.dataset.verdict).length;
      const all = claims.filter((row) => row.dataset.verdict).length;
      shown.textContent = n === all ? `All ${all} claims.` : `${n} of ${all} claims.`;
    };

    // On a phone the board is a list of cards: long.
    if (groups.length > 2 && window.matchMedia("(max-width: 40rem)").matches) {
      groups.slice(1).forEach((group) => { group.dataset.open = "no"; });
    }
    for (const group of groups) {
      const name = group.querySelector(".name");
      const button = document.createElement("button");
      button.type = "button";
      button.className = "toggle";
      button.append(...name.childNodes);
      name.append(button);
      button.addEventListener("click", () => {
        const open = button.getAttribute("aria-expanded") === "true";
        group.dataset.open = open ? "no" : "yes";
        if (open && isFiltering()) {
          for (const row of home.get(group)) row.hidden = true;
          button.setAttribute("aria-expanded", "false");
        } else {
          show();
        }
      });
    }

    for (const cell of table.tHead.rows[0].cells) {
      const key = cell.dataset.key;
      if (!key) continue;
      sortButton(cell, (sign) => {
        limit = PAGE;
        isFlat = key !== "study";
        table.classList.toggle("flat", isFlat);
        if (isFlat) {
          const number = (row) => (row.dataset[key] === "" || row.dataset[key] === undefined ? null : Number(row.dataset[key]));
          const rows = claims.filter((row) => row.dataset.verdict);
          rows.sort((a, b) => missingLast(number(a), number(b), sign));
          flat.append(...rows);
          groups.forEach((group) => group.remove());
          table.append(flat);
        } else {
          flat.remove();
          const named = [...groups].sort((a, b) => sign * (groups.indexOf(a) - groups.indexOf(b)));
          for (const group of named) group.append(...home.get(group));
          table.append(...named);
        }
        show();
      });
    }
    const open = (state) => () => {
      groups.forEach((group) => { group.dataset.open = state; });
      show();
    };
    document.getElementById("open-all").addEventListener("click", open("yes"));
    document.getElementById("close-all").addEventListener("click", open("no"));
    more.addEventListener("click", () => { limit += PAGE; show(); });
    filters.addEventListener("input", () => { limit = PAGE; show(); });
    filters.addEventListener("submit", (event) => event.preventDefault());
    filters.hidden = false;
    show();
  };
  board();

  // ---- charts

  let library = null;
  const plotly = () => {
    library = library || new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = `${root.dataset.root}assets/plotly.min.js`;
      script.onload = () => resolve(window.Plotly);
      script.onerror = reject;
      document.head.append(script);
    });
    return library;
  };

  const colour = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();

  const layout = (extra) => {
    const ink = colour("ink");
    const axis = { gridcolor: colour("rule"), zeroline: false, linecolor: ink, tickcolor: ink, automargin: true };
    return {
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: ink },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: 10, r: 16, t: 10, b: 46 },
      hoverlabel: { bgcolor: colour("paper"), bordercolor: ink, font: { color: ink }, align: "left" },
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, font: { size: 11 } },
      ...extra,
      xaxis: { ...axis, ...(extra.xaxis || {}) },
      yaxis: { ...axis, ...(extra.yaxis || {}) },
    };
  };
  const settings = { displaylogo: false, responsive: true, displayModeBar: "hover", modeBarButtonsToRemove: ["select2d", "lasso2d"] };

  const fixed = (value, digits = 3) => (value === null || value === undefined ? "n/a" : value.toFixed(digits).replace("-", "\u2212"));
  const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const short = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}\u2026` : text);
  const spread = (place, width) => (((place * 0.618034) % 1) - 0.5) * width;
  const range = (low, high) => (low === null || high === null ? "" : ` [${fixed(low)}, ${fixed(high)}]`);

  const rowsAxis = (labels, width) => ({
    tickvals: labels.map((_, place) => place),
    ticktext: labels.map((label) => plain(short(label, width < 600 ? 16 : 34))),
    range: [labels.length - 0.5, -0.5],
    showgrid: false,
    fixedrange: true,
  });

  const charts = {
    scores: {
      choices: (panels) => panels.map((panel) => panel.label),
      draw: (panels, choice, width) => {
        const panel = panels[choice];
        const methods = panel.methods;
        const dots = { x: [], y: [], text: [] };
        const nulls = { x: [], y: [], text: [] };
        methods.forEach((method, row) => {
          const most = Math.max(...methods.map((other) => other.values.length));
          method.values.forEach((value, place) => {
            dots.x.push(value);
            dots.y.push(row + spread(place, most > 1 ? 0.5 : 0));
            dots.text.push(`${plain(method.label)}<br>${plain(method.who[place])}: ${fixed(value)}`);
          });
          method.nulls.forEach((value, place) => {
            nulls.x.push(value);
            nulls.y.push(row);
            nulls.text.push(`${plain(method.label)}<br>labels permuted, time ${place + 1}: ${fixed(value)}`);
          });
        });
        const known = methods.map((method, row) => [method, row]).filter(([method]) => method.mean !== null);
        const shapes = panel.chance === null ? [] : [{
          type: "line", x0: panel.chance, x1: panel.chance, y0: 0, y1: 1, yref: "paper",
          line: { color: colour("ink"), width: 1.2, dash: "dash" }, layer: "below",
        }];
        const hover = { hovertemplate: "%{text}<extra></extra>", mode: "markers", type: "scatter" };
        const traces = [
          { ...hover, ...nulls, name: "labels permuted (means)", marker: { symbol: "line-ns", size: 14, line: { width: 1.4, color: colour("null") } } },
          { ...hover, ...dots, name: `one ${panel.unit}`, marker: { size: 7, color: colour("blue"), opacity: 0.5 } },
          {
            ...hover,
            name: "mean, 95 % interval",
            x: known.map(([method]) => method.mean),
            y: known.map(([, row]) => row),
            text: known.map(([method]) => `${plain(method.label)}${method.role ? ` (${plain(method.role)})` : ""}<br>mean ${fixed(method.mean)}${range(method.low, method.high)}, n ${method.n}<br>chance ${fixed(panel.chance)}, labels permuted ${fixed(method.null)}`),
            error_x: {
              type: "data", symmetric: false, color: colour("ink"), thickness: 1.8, width: 0,
              array: known.map(([method]) => (method.high === null ? 0 : method.high - method.mean)),
              arrayminus: known.map(([method]) => (method.low === null ? 0 : method.mean - method.low)),
            },
            marker: {
              symbol: "diamond", size: 11, line: { width: 1.6, color: colour("ink") },
              color: known.map(([method]) => (method.role === "proposed" ? colour("ink") : colour("paper"))),
            },
          },
        ].filter((trace) => trace.x.length);
        const labels = methods.map((method) => method.label);
        const y = rowsAxis(labels, width);
        y.ticktext = y.ticktext.map((label, row) => (methods[row].role === "proposed" ? `<b>${label}</b>` : label));
        return [traces, layout({
          height: 120 + 36 * methods.length, shapes,
          xaxis: { title: { text: plain(panel.axis) }, range: panel.range }, yaxis: y,
        })];
      },
    },
    quality: {
      choices: (measures) => measures.map((measure) => measure.label),
      draw: (measures, choice) => {
        const measure = measures[choice];
        const pick = (far) => measure.values.map((_, place) => place).filter((place) => measure.outlying[place] === far);
        const trace = (far, name, marker) => {
          const places = pick(far);
          return {
            name, marker, mode: "markers", type: "scatter", hovertemplate: "%{text}<extra></extra>",
            x: places.map((place) => measure.values[place]),
            y: places.map((place) => spread(place, 0.6)),
            text: places.map((place) => `${plain(measure.who[place])}: ${fixed(measure.values[place], 4)}`),
          };
        };
        const traces = [
          { type: "box", x: measure.values, y0: 0, orientation: "h", boxpoints: false, hoverinfo: "skip", showlegend: false, width: 0.7, line: { color: colour("soft"), width: 1 }, fillcolor: "rgba(0,0,0,0)" },
          trace(false, "recording", { size: 7, color: colour("blue"), opacity: 0.5 }),
          trace(true, "outlying", { size: 10, symbol: "x", color: "#d55e00" }),
        ].filter((entry) => entry.x.length);
        return [traces, layout({ height: 230, xaxis: { title: { text: plain(measure.label) } }, yaxis: { visible: false, fixedrange: true, range: [-0.6, 0.6] } })];
      },
    },
    timeline: {
      choices: () => [],
      draw: (rules, choice, width) => {
        const last = Math.max(...rules.flatMap((rule) => rule.bars.map((bar) => bar[0] + bar[1])));
        const [unit, name] = last > 7200 ? [3600, "h"] : last > 120 ? [60, "min"] : [1, "s"];
        const looks = { done: colour("blue"), failed: "#b2182b", incomplete: "#e69f00" };
        const traces = Object.entries(looks).map(([status, fill]) => {
          const bars = rules.flatMap((rule, row) => rule.bars.filter((bar) => bar[2] === status).map((bar) => [row, rule.rule, bar]));
          return {
            type: "bar", orientation: "h", name: status, marker: { color: fill, line: { width: 0 } }, opacity: 0.75, width: 0.6,
            base: bars.map(([, , bar]) => bar[0] / unit),
            // A bar that is too thin to see is no bar.
            x: bars.map(([, , bar]) => Math.max(bar[1], last / 800) / unit),
            y: bars.map(([row]) => row),
            text: bars.map(([, rule, bar]) => `${plain(rule)}<br>${plain(bar[3])}<br>from ${fixed(bar[0], 1)} s, ${fixed(bar[1], 1)} s`),
            hovertemplate: "%{text}<extra></extra>", textposition: "none",
          };
        }).filter((trace) => trace.x.length);
        return [traces, layout({
          height: 110 + 22 * rules.length, barmode: "overlay", showlegend: traces.length > 1,
          xaxis: { title: { text: `time since the start (${name})` } }, yaxis: rowsAxis(rules.map((rule) => rule.rule), width),
        })];
      },
    },
  };

  const chart = (box) => {
    const source = document.getElementById(box.dataset.source);
    const data = source ? JSON.parse(source.textContent) : [];
    const kind = charts[box.dataset.chart];
    if (!data.length || !kind) return;
    const drawn = document.createElement("div");
    drawn.className = "drawn";
    const controls = box.querySelector(".controls");
    const choices = kind.choices(data);
    let choice = 0;
    const draw = async () => {
      const library = await plotly();
      const [traces, plan] = kind.draw(data, choice, box.clientWidth);
      const still = box.querySelector(".static");
      if (!drawn.isConnected) still.before(drawn);
      still.style.display = "none";
      await library.react(drawn, traces, plan, settings);
      box.dataset.drawn = String(choice);
    };
    if (choices.length > 1) {
      const label = document.createElement("label");
      const select = document.createElement("select");
      choices.forEach((text, place) => select.append(new Option(text, String(place))));
      select.addEventListener("change", () => { choice = Number(select.value); draw(); });
      label.append("Show ", select);
      controls.append(label);
      controls.hidden = false;
    }
    draw().catch(() => { box.querySelector(".static").style.display = ""; drawn.remove(); });
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  };

  const boxes = document.querySelectorAll(".chart");
  if ("IntersectionObserver" in window) {
    const watcher = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (entry.isIntersecting) {
          watcher.unobserve(entry.target);
          chart(entry.target);
        }
      }
    }, { rootMargin: "300px" });
    boxes.forEach((box) => watcher.observe(box));
  } else {
    boxes.forEach(chart);
  }
})();
