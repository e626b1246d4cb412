// A widget's comm as a port.
import type { AnyModel } from "./afm.ts";
import type { FromDesk, Heard, Port } from "./kernel.ts";
import type { Bytes } from "./wire.ts";

/** The parts of a notebook's session that tell how its kernel fares, as JupyterLab and Notebook have them. */
interface Signal<T> {
  connect(slot: (sender: unknown, value: T) => void): unknown;
  disconnect(slot: (sender: unknown, value: T) => void): unknown;
}
interface Session {
  session?: { kernel?: { id?: string; status?: string } | null } | null;
  statusChanged?: Signal<string>;
  connectionStatusChanged?: Signal<string>;
  kernelChanged?: Signal<{ newValue?: { id?: string } | null }>;
}

/** Statuses after which a comm is dead; "starting" is all that is heard when somebody else restarts the kernel. */
const OVER = new Set(["starting", "restarting", "autorestarting", "terminating", "dead"]);

export function modelPort<T>(model: AnyModel<T>): Port {
  const session = (model.widget_manager as { context?: { sessionContext?: Session } } | undefined)?.context?.sessionContext;
  const kernel = session?.session?.kernel?.id;
  return {
    send: (content) => model.send(content),
    watched: session?.statusChanged !== undefined,
    busy: () => session?.session?.kernel?.status === "busy",
    listen(heard) {
      const message = (content: FromDesk, buffers?: readonly Bytes[]) => heard(content, buffers ?? []);
      // ipywidgets fires this when the kernel restarts, dies or comes back; only an answer tells which.
      const live = () => heard("live", []);
      model.on("msg:custom", message);
      model.on("comm_live_update", live);
      const unwatch = session ? watch(session, kernel, (state) => heard(state, [])) : () => {};
      return () => {
        unwatch();
        model.off("msg:custom", message);
        model.off("comm_live_update", live);
      };
    },
  };
}

/** A comm ends with its kernel's life, but nothing says so on the comm: the notebook's session does. */
function watch(session: Session, kernel: string | undefined, tell: (state: Exclude<Heard, object>) => void): () => void {
  const status = (_: unknown, now: string) => OVER.has(now) && tell("over");
  const changed = (_: unknown, { newValue }: { newValue?: { id?: string } | null }) => (!newValue || newValue.id !== kernel) && tell("over");
  const connection = (_: unknown, now: string) => tell(now === "connected" ? "live" : "cut");
  session.statusChanged?.connect(status);
  session.kernelChanged?.connect(changed);
  session.connectionStatusChanged?.connect(connection);
  return () => {
    session.statusChanged?.disconnect(status);
    session.kernelChanged?.disconnect(changed);
    session.connectionStatusChanged?.disconnect(connection);
  };
}
