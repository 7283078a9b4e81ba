(() => {
  const list = document.getElementById("feature-list");
  const controls = document.getElementById("feature-controls");
  if (!list || !controls) return;
  const [find, where, order] = controls.querySelectorAll("input, select");
  const items = [...list.children];
  const text = new Map(items.map((item) => [item, item.textContent.toLowerCase()]));
  const place = new Map(items.map((item, i) => [item, i]));
  const by = {
    number: (a, b) => place.get(a) - place.get(b),
    common: (a, b) => b.dataset.density - a.dataset.density,
    rare: (a, b) => a.dataset.density - b.dataset.density,
    accurate: (a, b) => b.dataset.auroc - a.dataset.auroc,
  };
  const show = () => {
    const words = find.value.toLowerCase().split(/\s+/);
    let count = 0;
    for (const item of items) {
      const here = !where.value || item.dataset.dictionary === where.value;
      item.hidden = !(here && words.every((word) => text.get(item).includes(word)));
      count += !item.hidden;
    }
    list.append(...[...items].sort(by[order.value]));
    controls.querySelector("output").value = `${count} of ${items.length} shown`;
  };
  controls.addEventListener("input", show);
  controls.hidden = false;
  show();
})();
