// Light or dark: as the machine says, or as a person chose for this tab.
/** The theme that the page is in now. */
export function theme(): "light" | "dark" {
  const chosen = document.documentElement.dataset["theme"];
  if (chosen === "light" || chosen === "dark") return chosen;
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

const KEY = "aquin-nb-looks";
const LOOKS = ["as the system", "light", "dark"] as const;

/** Apply what was chosen before; returns the button that goes on to the next. */
export function looksButton(button: HTMLButtonElement): HTMLButtonElement {
  const apply = (look: string) => {
    if (look === "light" || look === "dark") document.documentElement.dataset["theme"] = look;
    else delete document.documentElement.dataset["theme"];
    const word = look === "dark" ? "Dark" : look === "light" ? "Light" : "Auto";
    button.textContent = word;
    button.setAttribute("aria-label", `${word} colours${word === "Auto" ? ", as the system" : ""}`);
    button.title = `Colours: ${look}`;
  };
  apply(sessionStorage.getItem(KEY) ?? LOOKS[0]);
  button.addEventListener("click", () => {
    const now = sessionStorage.getItem(KEY) ?? LOOKS[0];
    const next = LOOKS[(LOOKS.indexOf(now as (typeof LOOKS)[number]) + 1) % LOOKS.length]!;
    sessionStorage.setItem(KEY, next);
    apply(next);
  });
  return button;
}
