// A pad to draw the course of a norm on: pointer or arrow keys. The digits are sent once, when
// the pointer is lifted or Enter is pressed.

const NS = "http://www.w3.org/2000/svg";
const H = 140, TOP = 8;
const make = (name, parent, more) => {
  const found = parent.appendChild(document.createElementNS(NS, name));
  for (const [key, value] of Object.entries(more)) found.setAttribute(key, value);
  return found;
};
export default function ({ data, parentElement, setTriggerValue }) {
  const box = parentElement.querySelector(".pad");
  const drawn = JSON.stringify(data);
  if (box.dataset.drawn === drawn) return;
  box.dataset.drawn = drawn;
  const n = data.knots;
  const given = data.shape.length > 0;
  let values = Array.from({ length: n }, (_, i) => {
    if (!given) return 2;
    const at = (i / (n - 1)) * (data.shape.length - 1), left = Math.floor(at);
    const right = Math.min(left + 1, data.shape.length - 1);
    return Math.round(data.shape[left] + (data.shape[right] - data.shape[left]) * (at - left));
  });
  let sent = values.join("");
  const W = Math.max(280, box.clientWidth || 520);
  const held = [...box.querySelectorAll("circle")].indexOf(parentElement.activeElement);
  box.replaceChildren();
  box.classList.toggle("empty", !given);
  const svg = make("svg", box, { viewBox: `0 0 ${W} ${H + TOP + 20}`, role: "group",
    "aria-label": "curve of the decoder norm to look for; arrow keys move a point, Enter searches" });
  const x = (i) => (i / (n - 1)) * W;
  const y = (v) => TOP + H - (v / 9) * H;
  for (const v of [4.5, 9]) make("line", svg, { class: "line", x1: 0, x2: W, y1: y(v), y2: y(v) });
  make("line", svg, { class: "base", x1: 0, x2: W, y1: y(0), y2: y(0) });
  for (const [at, name] of data.ticks) {
    const end = at < 0.01 ? "start" : at > 0.99 ? "end" : "middle";
    make("line", svg, { class: "base", x1: at * W, x2: at * W, y1: y(0), y2: y(0) + 4 });
    make("text", svg, { x: at * W, y: TOP + H + 17, "text-anchor": end }).textContent = name;
  }
  const under = make("path", svg, { class: "under" });
  const course = make("path", svg, { class: "course" });
  const knots = values.map((v, i) => make("circle", svg, { r: 4.5, tabindex: i ? -1 : 0,
    role: "slider", "aria-valuemin": 0, "aria-valuemax": 9, "aria-label": data.names[i] }));
  const show = () => {
    const path = values.map((v, i) => `${i ? "L" : "M"}${x(i)} ${y(v)}`).join("");
    course.setAttribute("d", path);
    under.setAttribute("d", `${path}L${W} ${y(0)}L0 ${y(0)}Z`);
    knots.forEach((k, i) => {
      k.setAttribute("cx", x(i));
      k.setAttribute("cy", y(values[i]));
      k.setAttribute("aria-valuenow", values[i]);
    });
  };
  const send = () => {
    const shape = values.join("");
    if (shape === sent) return;
    sent = shape;
    box.classList.remove("empty");
    setTriggerValue("shape", shape);
  };
  let last = null;
  const place = (event) => {
    const at = svg.getBoundingClientRect();
    const unit = at.height / (H + TOP + 20);
    const i = Math.round(((event.clientX - at.left) / at.width) * (n - 1));
    const v = Math.round(((TOP + H - (event.clientY - at.top) / unit) / H) * 9);
    return [Math.min(n - 1, Math.max(0, i)), Math.min(9, Math.max(0, v))];
  };
  svg.onpointerdown = (event) => {
    svg.setPointerCapture(event.pointerId);
    last = place(event);
    values[last[0]] = last[1];
    box.classList.remove("empty");
    show();
  };
  svg.onpointermove = (event) => {
    if (!last) return;
    const now = place(event);
    const step = Math.sign(now[0] - last[0]);
    for (let i = last[0]; step && i !== now[0] + step; i += step)
      values[i] = Math.round(last[1] + (now[1] - last[1]) * (i - last[0]) / (now[0] - last[0]));
    values[now[0]] = now[1];
    last = now;
    show();
  };
  svg.onpointerup = svg.onpointercancel = () => { last = null; send(); };
  svg.onkeydown = (event) => {
    const i = knots.indexOf(event.target);
    if (i < 0) return;
    const up = { ArrowUp: 1, ArrowDown: -1, PageUp: 3, PageDown: -3 }[event.key];
    const side = { ArrowRight: 1, ArrowLeft: -1, Home: -n, End: n }[event.key];
    if (up) values[i] = Math.min(9, Math.max(0, values[i] + up));
    else if (side) {
      const to = Math.min(n - 1, Math.max(0, i + side));
      knots[i].setAttribute("tabindex", -1);
      knots[to].setAttribute("tabindex", 0);
      knots[to].focus();
    } else if (event.key === "Enter" || event.key === " ") send();
    else return;
    event.preventDefault();
    event.stopPropagation();
    box.classList.remove("empty");
    show();
  };
  show();
  if (held >= 0 && knots[held]) { // drawn anew after Enter: the focus stays where it was
    knots[0].setAttribute("tabindex", -1);
    knots[held].setAttribute("tabindex", 0);
    knots[held].focus();
  }
}
