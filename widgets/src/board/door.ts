// Where somebody without a token waits.
import { h, setText } from "../core/dom.ts";
import { tryToken } from "./access.ts";

/** Ask for a token in place of the page; `open` is called once one was taken. */
export function door(root: HTMLElement, open: () => Promise<void>, problem: string): void {
  const input = h("input", { type: "password", autocomplete: "off", "aria-label": "token", placeholder: "aqn_…", required: true });
  const said = h("p", { class: "problem", role: "alert" }, problem);
  const form = h("form", {}, input, h("button", { type: "submit" }, "Open"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void tryToken(input.value.trim()).then(
      (taken) => (taken ? open() : setText(said, "This token is not valid here.")),
      () => setText(said, "The server was not reached."),
    );
  });
  root.replaceChildren(
    h("main", {}, h("div", { class: "door" }, h("h2", {}, "This board is private"),
      h("p", {}, "Open it by the address that the server printed when it started, or paste its token."), form, said)),
  );
  input.focus();
}
