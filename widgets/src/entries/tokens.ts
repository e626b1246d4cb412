// Inlined after the static HTML of an inspection; as a module, the same view of a widget.
import { resultWidget, upgradeResults } from "../core/host.ts";
import { mountTokens } from "../tokens/view.ts";

upgradeResults("tokens", mountTokens);
export default resultWidget(mountTokens);
export { mountTokens as mount }; // what the board calls
