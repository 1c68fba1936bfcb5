"use strict";
for (const chart of document.querySelectorAll(".chart")) {
  const figure = JSON.parse(chart.querySelector("script").textContent);
  const place = document.createElement("div");
  chart.append(place);
  Plotly.newPlot(place, figure.data, figure.layout, { responsive: true, displaylogo: false, ...figure.config });
}
for (const place of document.querySelectorAll(".math")) {
  // Markdown leaves the TeX between \( and \) in a line, \[ and \] on its own; other sources use dollars.
  const tex = place.textContent.trim().replace(/^(\\\(|\\\[|\${1,2})|(\\\)|\\\]|\${1,2})$/g, "");
  try {
    katex.render(tex, place, { output: "mathml", displayMode: place.tagName === "DIV" || place.classList.contains("display"), throwOnError: false });
  } catch {
    place.textContent = tex;
  }
}
