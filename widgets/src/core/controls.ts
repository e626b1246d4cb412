// Controls of a toolbar: search, chips, sliders, choices, tabs, menus. Each is one Tab stop with arrows inside.
import choosing from "./choosing.css";
import { h, setText } from "./dom.ts";
import { number } from "./format.ts";
import two from "./range.css";
import tabbed from "./tabs.css";

export interface Control<Value> {
  readonly element: HTMLElement;
  readonly value: Value;
  /** Set it from code; its listener is not called. */
  set(value: Value): void;
}

/** A search field; `onInput` comes a moment after the last key. Escape empties it. */
export function searchBox(options: { label: string; placeholder?: string; onInput: (text: string) => void; wait?: number }): Control<string> {
  const { label, placeholder = label, onInput, wait = 150 } = options;
  const element = h("input", { type: "search", class: "box", placeholder, "aria-label": label, autocomplete: "off", spellcheck: "false" });
  let timer: ReturnType<typeof setTimeout> | undefined;
  let told = "";
  const tell = () => {
    clearTimeout(timer);
    if (element.value !== told) onInput((told = element.value));
  };
  element.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(tell, wait);
  });
  element.addEventListener("keydown", (event) => {
    if (event.key === "Escape") element.value = "";
    if (event.key === "Escape" || event.key === "Enter") tell();
  });
  return {
    element,
    get value() {
      return element.value;
    },
    set(value) {
      element.value = told = value;
    },
  };
}

export interface ChipValue {
  value: string;
  label?: string;
  count?: string;
  /** CSS colour of a dot before the label. */
  colour?: string;
}

/** Toggles of which several may be on; none on means no filter. */
export function chips(options: { label: string; values: readonly ChipValue[]; value?: readonly string[]; onChange: (value: string[]) => void }): Control<string[]> & { show(values: readonly ChipValue[]): void } {
  const element = h("div", { class: "chips", role: "group", "aria-label": options.label }, h("style", {}, choosing), h("span", { "aria-hidden": true }, options.label));
  let on = new Set(options.value ?? []);
  let buttons: { value: string; button: HTMLButtonElement }[] = [];
  const draw = () => buttons.forEach(({ value, button }) => button.setAttribute("aria-pressed", String(on.has(value))));
  const show = (values: readonly ChipValue[]) => {
    for (const { button } of buttons) button.remove();
    buttons = values.map(({ value, label = value, count, colour }) => {
      const dot = colour ? h("i", { style: `--tone:${colour}` }) : null;
      const button = h("button", { type: "button", class: "chip" }, dot, h("span", {}, label), count ? h("small", {}, count) : null);
      button.addEventListener("click", () => {
        if (!on.delete(value)) on.add(value);
        draw();
        options.onChange([...on]);
      });
      return { value, button };
    });
    element.append(...buttons.map(({ button }) => button));
    roving(buttons.map(({ button }) => button));
    draw();
  };
  show(options.values);
  return {
    element,
    show,
    get value() {
      return [...on];
    },
    set(value) {
      on = new Set(value);
      draw();
    },
  };
}

export interface SliderOptions {
  label: string;
  low: number;
  high: number;
  step?: number;
  /** Positions are even in the logarithm; `low` must then be above 0. */
  log?: boolean;
  text?: (value: number) => string;
}

/** One thumb. `onChange` comes while it moves: answer quickly, or wait yourself. */
export function slider(options: SliderOptions & { value: number; onChange: (value: number) => void }): Control<number> {
  const { label, text = number, onChange } = options;
  const scale = thumbScale(options);
  const input = h("input", { type: "range", min: 0, max: scale.steps, step: 1, "aria-label": label });
  const shown = h("b");
  const element = h("label", { class: "control slider" }, h("span", {}, label), input, shown);
  let value = options.value;
  const draw = () => {
    input.value = String(scale.place(value));
    input.setAttribute("aria-valuetext", text(value));
    setText(shown, text(value));
  };
  input.addEventListener("input", () => {
    value = scale.value(Number(input.value));
    draw();
    onChange(value);
  });
  draw();
  return {
    element,
    get value() {
      return value;
    },
    set(next) {
      value = next;
      draw();
    },
  };
}

/** Two thumbs that never cross. */
export function range(options: SliderOptions & { value: [number, number]; onChange: (value: [number, number]) => void }): Control<[number, number]> {
  const { label, text = number, onChange } = options;
  const scale = thumbScale(options);
  const inputs = ["lowest", "highest"].map((end) => h("input", { type: "range", min: 0, max: scale.steps, step: 1, "aria-label": `${label}, ${end}` }));
  const shown = h("b");
  const element = h("span", { class: "control slider", role: "group", "aria-label": label }, h("span", { "aria-hidden": true }, label), h("span", { class: "two" }, h("style", {}, two), ...inputs), shown);
  let value: [number, number] = options.value;
  const draw = () => {
    inputs.forEach((input, i) => {
      input.value = String(scale.place(value[i]!));
      input.setAttribute("aria-valuetext", text(value[i]!));
    });
    setText(shown, `${text(value[0])} – ${text(value[1])}`);
  };
  inputs.forEach((input, i) =>
    input.addEventListener("input", () => {
      const moved = scale.value(Number(input.value));
      value = i === 0 ? [Math.min(moved, value[1]), value[1]] : [value[0], Math.max(moved, value[0])];
      draw();
      onChange(value);
    }),
  );
  draw();
  return {
    element,
    get value() {
      return value;
    },
    set(next) {
      value = next;
      draw();
    },
  };
}

/** Thumbs move over whole steps, so that keys and pointers meet the same values and both ends are reached exactly. */
export function thumbScale({ low, high, step, log = false }: SliderOptions): { steps: number; place(value: number): number; value(place: number): number } {
  if (log) {
    const width = Math.log(high / low) || 1;
    const value = (place: number) => (place >= 200 ? high : place <= 0 ? low : Number((low * Math.exp((width * place) / 200)).toPrecision(3)));
    return { steps: 200, place: (at) => Math.round((200 * Math.log(at / low)) / width), value };
  }
  const by = step ?? ((high - low) / 200 || 1);
  const steps = Math.max(1, Math.round((high - low) / by));
  return { steps, place: (at) => Math.round((at - low) / by), value: (place) => (place >= steps ? high : Number((low + place * by).toPrecision(12))) };
}

export interface Option {
  value: string;
  label?: string;
  title?: string;
}

/** One of a few, all visible. */
export function segmented(options: { label: string; options: readonly Option[]; value: string; onChange: (value: string) => void }): Control<string> {
  let value = options.value;
  const buttons = options.options.map((option) => {
    const button = h("button", { type: "button", role: "radio", title: option.title }, option.label ?? option.value);
    button.addEventListener("click", () => pick(option.value));
    return button;
  });
  const draw = () => options.options.forEach((option, i) => buttons[i]!.setAttribute("aria-checked", String(option.value === value)));
  const pick = (next: string) => {
    if (next === value) return;
    value = next;
    draw();
    options.onChange(value);
  };
  draw();
  roving(buttons, () => options.options.findIndex((option) => option.value === value), (i) => pick(options.options[i]!.value));
  return {
    element: h("div", { class: "segmented", role: "radiogroup", "aria-label": options.label }, h("style", {}, choosing), ...buttons),
    get value() {
      return value;
    },
    set(next) {
      value = next;
      draw();
    },
  };
}

/** One of many: the browser's own list. */
export function choice(options: { label: string; options: readonly Option[]; value: string; onChange: (value: string) => void }): Control<string> {
  const select = h("select", { class: "box", "aria-label": options.label }, ...options.options.map(({ value, label = value }) => h("option", { value }, label)));
  select.value = options.value;
  select.addEventListener("change", () => options.onChange(select.value));
  return {
    element: h("label", { class: "control" }, h("span", { "aria-hidden": true }, options.label), select),
    get value() {
      return select.value;
    },
    set(value) {
      select.value = value;
    },
  };
}

export interface Tab {
  name: string;
  label: string;
  panel: HTMLElement;
}

let numbered = 0; // ids must differ between the views of one page, nothing more

/** Panels of which one is shown. `onShow` comes with the first one too, so that a panel is built when it is needed. */
export function tabs(options: { label: string; tabs: readonly Tab[]; value?: string; onShow?: (name: string) => void }): Control<string> {
  const base = `tab-${++numbered}`;
  let value = options.value ?? options.tabs[0]?.name ?? "";
  const buttons = options.tabs.map(({ name, label, panel }, i) => {
    const button = h("button", { type: "button", role: "tab", id: `${base}-${i}`, "aria-controls": `${base}-${i}-panel` }, label);
    Object.assign(panel, { id: `${base}-${i}-panel` });
    panel.setAttribute("role", "tabpanel");
    panel.setAttribute("aria-labelledby", button.id);
    button.addEventListener("click", () => pick(name));
    return button;
  });
  const draw = () =>
    options.tabs.forEach(({ name, panel }, i) => {
      buttons[i]!.setAttribute("aria-selected", String(name === value));
      panel.hidden = name !== value;
    });
  const pick = (next: string) => {
    value = next;
    draw();
    options.onShow?.(value);
  };
  draw();
  roving(buttons, () => options.tabs.findIndex(({ name }) => name === value), (i) => pick(options.tabs[i]!.name));
  options.onShow?.(value);
  return {
    element: h("div", {}, h("style", {}, tabbed), h("div", { class: "tablist", role: "tablist", "aria-label": options.label }, ...buttons), ...options.tabs.map(({ panel }) => panel)),
    get value() {
      return value;
    },
    set(next) {
      value = next;
      draw();
    },
  };
}

/** Arrow keys, Home and End move among `items`, of which one is in the Tab order; `moved` is called when it is another. */
export function roving(items: readonly HTMLElement[], current: () => number = () => 0, moved?: (index: number) => void): void {
  const rest = (at: number) => items.forEach((item, i) => (item.tabIndex = i === at ? 0 : -1));
  rest(Math.max(0, current()));
  items.forEach((item, i) => {
    item.addEventListener("focus", () => rest(i));
    item.addEventListener("keydown", (event) => {
      const next = { ArrowRight: i + 1, ArrowDown: i + 1, ArrowLeft: i - 1, ArrowUp: i - 1, Home: 0, End: items.length - 1 }[event.key];
      if (next === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      const at = (next + items.length) % items.length;
      items[at]?.focus();
      moved?.(at);
    });
  });
}

export interface MenuItem {
  label: string;
  run: () => void;
}

/** A button that opens a menu of actions. */
export function menuButton(options: { label: string; items: readonly MenuItem[]; side?: "left" | "right" }): { element: HTMLElement } {
  const button = h("button", { type: "button", "aria-haspopup": "menu", "aria-expanded": "false" }, options.label);
  const items = options.items.map(({ label, run }) => {
    const item = h("button", { type: "button", role: "menuitem" }, label);
    item.addEventListener("click", () => {
      close(true);
      run();
    });
    return item;
  });
  const list = h("div", { role: "menu", "aria-label": options.label, hidden: true }, ...items);
  const element = h("div", { class: "menu", "data-side": options.side ?? "right" }, button, list);
  const outside = (event: Event) => event.composedPath().includes(element) || close(false);
  const open = (at: number) => {
    list.hidden = false;
    button.setAttribute("aria-expanded", "true");
    document.addEventListener("pointerdown", outside, true);
    items.at(at)?.focus();
  };
  const close = (back: boolean) => {
    list.hidden = true;
    button.setAttribute("aria-expanded", "false");
    document.removeEventListener("pointerdown", outside, true);
    if (back) button.focus();
  };
  roving(items);
  button.addEventListener("click", () => (list.hidden ? open(0) : close(true)));
  button.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    event.preventDefault();
    event.stopPropagation();
    open(event.key === "ArrowDown" ? 0 : -1);
  });
  list.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.stopPropagation();
      close(true);
    } else if (event.key === "Tab") close(false);
  });
  return { element };
}

/** A part that opens on demand; `body` is called once, the first time. */
export function disclosure(options: { summary: string; body: () => HTMLElement; open?: boolean }): HTMLDetailsElement {
  const element = h("details", { class: "more" }, h("summary", {}, options.summary));
  let built = false;
  const build = () => {
    if (!element.open || built) return;
    built = true;
    element.append(options.body());
  };
  element.addEventListener("toggle", build);
  element.open = options.open ?? false;
  build();
  return element;
}
