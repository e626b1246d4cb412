// How this page gets in: a code from the address, used once, or a token that a person pastes. Kept for this tab alone.

const KEPT = "aquin-nb token";

export class Refused extends Error {}

export function heldToken(): string | null {
  return sessionStorage.getItem(KEPT);
}

export function dropToken(): void {
  sessionStorage.removeItem(KEPT);
}

/** Take a code out of the address, before anything could read it from there, and exchange it. */
export async function enter(): Promise<void> {
  const given = new URLSearchParams(location.hash.slice(1));
  const code = given.get("code");
  if (code === null) return;
  given.delete("code");
  history.replaceState(null, "", `${location.pathname}${given.size ? `#${given}` : ""}`);
  const answer = await fetch("v1/launch", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ code }),
  });
  if (answer.ok) sessionStorage.setItem(KEPT, ((await answer.json()) as { token: string }).token);
  else if (heldToken() === null) throw new Refused("This address was used before, or is too old. Ask for a new one.");
}

/** Keep a pasted token if the server takes it. */
export async function tryToken(token: string): Promise<boolean> {
  const answer = await fetch("v1/rooms", { headers: { Authorization: `Bearer ${token}` } });
  if (answer.ok) sessionStorage.setItem(KEPT, token);
  return answer.ok;
}

/** A request with the token. Addresses are relative: the page also lives under a proxy's path. */
export async function ask(path: string, more: RequestInit = {}): Promise<Response> {
  const headers = { ...(more.headers as Record<string, string>), Authorization: `Bearer ${heldToken() ?? ""}` };
  const answer = await fetch(path, { ...more, headers, cache: "no-store" });
  if (answer.status === 401 || answer.status === 403) throw new Refused("The token is not valid any more.");
  if (!answer.ok) throw new Error(`The server answered ${answer.status}.`);
  return answer;
}

/** JSON that was kept under its hash. */
export async function readBlob(sha256: string): Promise<unknown> {
  return (await ask(`v1/blobs/${sha256}`)).json();
}

export async function read<T>(path: string): Promise<T> {
  return (await (await ask(path)).json()) as T;
}
