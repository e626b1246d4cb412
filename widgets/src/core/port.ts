// A widget's comm as a port.
import type { AnyModel } from "./afm.ts";
import type { FromDesk, Port } from "./kernel.ts";
import type { Bytes } from "./wire.ts";

export function modelPort<T>(model: AnyModel<T>): Port {
  return {
    send: (content) => model.send(content),
    listen(heard) {
      const message = (content: FromDesk, buffers?: readonly Bytes[]) => heard(content, buffers ?? []);
      // ipywidgets fires this when the kernel restarts, dies or comes back; only an answer tells which.
      const live = () => heard("live", []);
      model.on("msg:custom", message);
      model.on("comm_live_update", live);
      return () => {
        model.off("msg:custom", message);
        model.off("comm_live_update", live);
      };
    },
  };
}
