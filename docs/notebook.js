// Pages of notebooks: figures are drawn, and views and figures follow when the reader turns light to dark.
(() => {
  const dark = () => document.body.dataset.mdColorScheme === "slate";
  const places = [...document.querySelectorAll(".outputs .figure")];

  const look = () => {
    const [ink, rule] = dark() ? ["#d5d8de", "#3a3f4a"] : ["#2a3f5f", "#e3e7ee"];
    const axis = { gridcolor: rule, linecolor: rule, zerolinecolor: rule };
    return { ink, axis };
  };

  const drawn = (layout) => {
    const { ink, axis } = look();
    const own = { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { ...layout.font, color: ink } };
    const axes = Object.keys(layout).filter((key) => /^[xy]axis\d*$/.test(key));
    for (const key of axes) own[key] = { ...layout[key], ...axis };
    return { ...layout, ...own, autosize: true, width: undefined };
  };

  const draw = () => {
    for (const place of places) {
      const { data, layout } = JSON.parse(place.querySelector("script").textContent);
      let target = place.querySelector(".drawn");
      if (!target) place.append((target = Object.assign(document.createElement("div"), { className: "drawn" })));
      Plotly.react(target, data, drawn(layout), { responsive: true, displaylogo: false });
    }
  };

  const follow = () => {
    document.body.dataset.theme = dark() ? "dark" : "light"; // what views watch
    draw();
  };
  new MutationObserver(follow).observe(document.body, { attributes: true, attributeFilter: ["data-md-color-scheme"] });
  follow();
})();
