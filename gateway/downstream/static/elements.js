// Elements and texts: what every part of the dashboard is drawn with.

export function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

export function say(element, text, className) {
  if (element.textContent !== text) element.textContent = text;
  if (className !== undefined && element.className !== className) element.className = className;
}

export const many = new Intl.NumberFormat("en");

export function seconds(value) {
  if (value < 0.05) return "0 s";
  if (value < 10) return `${value.toFixed(1)} s`;
  if (value < 120) return `${Math.round(value)} s`;
  if (value < 7200) return `${Math.floor(value / 60)} min ${String(Math.floor(value % 60)).padStart(2, "0")} s`;
  return `${(value / 3600).toFixed(1)} h`;
}

export function bytes(value) {
  return value < 1e6 ? `${Math.round(value / 1e3)} kB` : `${(value / 1e6).toFixed(value < 1e7 ? 1 : 0)} MB`;
}

export function meter(element, share, warn = true) {
  element.firstElementChild.style.width = `${Math.min(100, 100 * share)}%`;
  element.toggleAttribute("data-full", warn && share >= 0.9);
}

// Keeps the elements of those that stay, so that focus and selection stay too.
export function keyed(parent, items, key, create, fill) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = key(item);
    let child = old.get(name);
    old.delete(name);
    if (!child) {
      child = create(item);
      child.dataset.key = name;
    }
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
    fill(child, item);
  }
  for (const child of old.values()) child.remove();
}

export function row(...classes) {
  const line = make("div", "row");
  line.role = "row";
  for (const name of classes) {
    const cell = make("div", name);
    cell.role = "cell";
    line.append(cell);
  }
  return line;
}
