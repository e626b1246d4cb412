// What a card's state is called, and when things happened.

import { ago, count, duration } from "../core/format.ts";
import type { AttemptView, CardView } from "./model.ts";

export interface Wording {
  label: string;
  tone: "running" | "good" | "warn" | "bad" | "idle";
  why: string;
}

/** A status as a person reads it: silence is not the end of a run, and is not shown as one. */
export function wording(view: AttemptView): Wording {
  if (view.status === "completed") return { label: "completed", tone: "good", why: "" };
  if (view.status === "failed") return { label: "failed", tone: "bad", why: "" };
  if (view.status === "cancelled") return { label: "cancelled", tone: "idle", why: "" };
  if (view.status !== "running") return { label: "unknown", tone: "idle", why: "No start of this run has arrived yet." };
  if (view.contact === "silent") return { label: "no contact", tone: "warn", why: "It may still run." };
  if (view.contact === "lost") return { label: "contact lost", tone: "warn", why: "It may still run; nothing proves its end." };
  if (view.contact === "interrupted") return { label: "interrupted", tone: "bad", why: "Its process has ended." };
  return { label: "running", tone: "running", why: "" };
}

export function lastContact(view: CardView, now: number): string {
  if (view.status !== "running") return "";
  const parts: string[] = [];
  if (view.contact !== "live" && view.last_contact) {
    parts.push(`last contact ${ago((now - Date.parse(view.last_contact)) / 1000)}`);
  }
  const why = wording(view).why;
  if (why) parts.push(why);
  if (view.pending !== null && view.pending > 0 && view.contact === "live") {
    parts.push(`${count(view.pending)} ${view.pending === 1 ? "event is" : "events are"} still waiting${view.host ? ` on ${view.host}` : ""}`);
  }
  return parts.join(" · ");
}

/** Who ran it and where: "ablation on the laptop"; empty where nobody said. */
export function origin(view: CardView): string {
  return [view.session, view.device && `on ${view.device}`].filter(Boolean).join(" ");
}

/** "14:03:22" today, with the date before; "–" for what is no time. */
export function clock(time: string | null, now: number): string {
  const at = new Date(time ?? "");
  if (Number.isNaN(at.getTime())) return "–";
  const hours = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
  return at.toDateString() === new Date(now).toDateString() ? hours : `${at.toLocaleDateString()} ${hours}`;
}

export function took(view: AttemptView): string {
  const seconds = (Date.parse(view.completed_at ?? "") - Date.parse(view.invoked_at ?? "")) / 1000;
  return Number.isFinite(seconds) && seconds >= 0 ? `after ${duration(seconds)}` : "";
}
