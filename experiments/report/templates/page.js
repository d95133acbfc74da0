"use strict";
(() => {
  const title = document.title.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "");
  document.documentElement.classList.add("scripted");
  const each = (selector, act) => document.querySelectorAll(selector).forEach(act);
  const specOf = (name) => JSON.parse(document.getElementById("spec-" + name).textContent);

  const save = (name, data, kind) => {
    const link = document.createElement("a");
    link.download = name;
    link.href = typeof data === "string" && data.startsWith("data:") ? data : URL.createObjectURL(new Blob([data], { type: kind }));
    link.click();
    if (link.href.startsWith("blob:")) setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const quoted = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    return /[",\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
  };
  const csv = (lines) => lines.map((line) => line.map(quoted).join(",")).join("\n") + "\n";
  const plain = (text) => text.replace(/[\u2007\u2008]/g, "").replace(/\s+/g, " ").trim();

  // Tables: sort by heading, filter by text, take away as CSV.
  const value = (cell) => {
    const key = cell.dataset.sort;
    if (key === undefined) return null;
    const number = Number(key);
    return key !== "" && !Number.isNaN(number) ? number : key;
  };
  const compare = (a, b) =>
    a === null ? (b === null ? 0 : 1) : b === null ? -1
      : typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
  each("table.sortable", (table) => {
    const heads = [...table.tHead.rows[0].cells];
    const body = table.tBodies[0];
    [...body.rows].forEach((row) => [...row.cells].forEach((cell) => {
      if (cell.dataset.sort === undefined && plain(cell.textContent) !== "-") cell.dataset.sort = plain(cell.textContent);
    }));
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        // Numbers are first sorted with the largest on top, words from a to z; what is missing stays last either way.
        const before = head.getAttribute("aria-sort");
        const first = head.classList.contains("number") ? "descending" : "ascending";
        const after = before === "none" ? first : before === "ascending" ? "descending" : "ascending";
        heads.forEach((other) => other.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", after);
        const sign = after === "ascending" ? 1 : -1;
        const keyed = [...body.rows].map((row) => [value(row.cells[column]), row]);
        keyed.sort(([a], [b]) => (a === null || b === null ? compare(a, b) : sign * compare(a, b)));
        body.append(...keyed.map(([, row]) => row));
      });
    });
  });
  each("input[data-filter]", (input) => {
    const rows = [...document.getElementById("table-" + input.dataset.filter).tBodies[0].rows];
    const shown = document.querySelector('[data-shown="' + input.dataset.filter + '"]');
    const texts = rows.map((row) => plain(row.textContent).toLowerCase());
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let count = 0;
      rows.forEach((row, i) => {
        row.hidden = !words.every((word) => texts[i].includes(word));
        count += row.hidden ? 0 : 1;
      });
      shown.value = count === rows.length ? count + " rows" : count + " of " + rows.length + " rows";
    });
  });
  each("button[data-table-csv]", (button) => button.addEventListener("click", () => {
    const name = button.dataset.tableCsv;
    const table = document.getElementById("table-" + name);
    const cellText = (cell) => {
      const text = plain((cell.querySelector(".text") || cell).textContent);
      const note = cell.querySelector(".note");
      return note ? text + " (" + plain(note.textContent) + ")" : text;
    };
    const heads = [...table.tHead.rows[0].cells].map((cell) => plain(cell.textContent));
    save(title + "-" + name + ".csv", csv([heads, ...[...table.tBodies[0].rows].map((row) => [...row.cells].map(cellText))]), "text/csv");
  }));
  each("button[data-save]", (button) => button.addEventListener("click", () => {
    save("experiment.toml", document.getElementById(button.dataset.save).textContent, "application/toml");
  }));

  // Charts: drawn when they come near the screen, all of them when the browser is idle or about to print.
  const charts = [...document.querySelectorAll("[data-chart]")];
  const drawn = new Map();
  const draw = (element) => {
    if (!drawn.has(element)) {
      const options = { renderer: "svg", actions: false, defaultStyle: false, tooltip: { theme: "page" } };
      drawn.set(element, vegaEmbed(element, specOf(element.dataset.chart), options)
        // The chart is one picture with its description; its parts would only be noise to a screen reader.
        .then((result) => { element.querySelector("svg").setAttribute("aria-hidden", "true"); element.dataset.drawn = "yes"; return result; })
        .catch((error) => { element.textContent = "This chart could not be drawn."; console.error(error); }));
    }
    return drawn.get(element);
  };
  const watcher = new IntersectionObserver((entries) => entries.forEach((entry) => {
    if (entry.isIntersecting) { watcher.unobserve(entry.target); draw(entry.target); }
  }), { rootMargin: "400px" });
  charts.forEach((element) => watcher.observe(element));
  const idle = window.requestIdleCallback || ((act) => setTimeout(act, 60));
  const rest = () => {
    const next = charts.find((element) => !drawn.has(element));
    if (next) draw(next).then(() => idle(rest));
    else Promise.all(drawn.values()).then(() => performance.mark("charts-drawn"));
  };
  window.addEventListener("load", () => idle(rest));
  // Printing does not wait for timers or frames, but promises are kept before a listener returns to the browser, and drawing is made of these.
  window.addEventListener("beforeprint", () => {
    charts.forEach(draw);
    each("details", (element) => { element.dataset.was = element.open; element.open = true; });
  });
  window.addEventListener("afterprint", () => each("details[data-was]", (element) => { element.open = element.dataset.was === "true"; }));

  // To take away: always light, on white, of one width, whatever the screen shows.
  const still = async (name, act) => {
    const spec = specOf(name);
    if (spec.width === "container") spec.width = 640;
    spec.background = "#FFFFFF";
    spec.config.background = "#FFFFFF";
    const aside = document.createElement("div");
    const result = await vegaEmbed(aside, spec, { renderer: "svg", actions: false, defaultStyle: false });
    try { return await act(result.view); } finally { result.finalize(); }
  };
  each("button[data-take]", (button) => button.addEventListener("click", async () => {
    const name = button.dataset.of;
    const file = title + "-" + name + "." + button.dataset.take;
    if (button.dataset.take === "csv") {
      const rows = specOf(name).datasets.data;
      const fields = Object.keys(rows[0]);
      save(file, csv([fields, ...rows.map((row) => fields.map((field) => row[field]))]), "text/csv");
    } else if (button.dataset.take === "svg") {
      save(file, await still(name, (view) => view.toSVG()), "image/svg+xml");
    } else {
      const canvas = await still(name, (view) => view.toCanvas(2));
      canvas.toBlob((blob) => save(file, blob, "image/png"), "image/png");
    }
  }));
  const MOST = 500;
  each("button[data-numbers]", (button) => button.addEventListener("click", () => {
    const name = button.dataset.numbers;
    const place = document.querySelector('[data-numbers-of="' + name + '"]');
    const open = button.getAttribute("aria-expanded") !== "true";
    button.setAttribute("aria-expanded", String(open));
    place.hidden = !open;
    if (!open || place.firstChild) return;
    const rows = specOf(name).datasets.data;
    const fields = Object.keys(rows[0]);
    const region = document.createElement("div");
    region.className = "scroll tall";
    region.tabIndex = 0;
    region.setAttribute("role", "region");
    region.setAttribute("aria-label", "Numbers of the chart");
    const table = document.createElement("table");
    const caption = table.createCaption();
    caption.textContent = rows.length > MOST ? "The first " + MOST + " of " + rows.length + " rows; the CSV has all." : "The plotted numbers, in SI units.";
    const head = table.createTHead().insertRow();
    fields.forEach((field) => {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.textContent = field.replaceAll("_", " ");
      head.append(cell);
    });
    const body = table.createTBody();
    rows.slice(0, MOST).forEach((row) => {
      const line = body.insertRow();
      fields.forEach((field) => {
        const cell = line.insertCell();
        cell.textContent = row[field] === null || row[field] === undefined ? "-" : row[field];
        if (typeof row[field] === "number") cell.className = "number";
      });
    });
    region.append(table);
    place.append(region);
  }));
})();
