// Inlined after the static HTML of a diff; as a module, the same view of a widget.
import { resultWidget, upgradeResults } from "../core/host.ts";
import { mountDiff } from "../diff/view.ts";

upgradeResults("diff", mountDiff);
export default resultWidget(mountDiff);
export { mountDiff as mount }; // what the board calls
