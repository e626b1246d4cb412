// Captures side by side, in an HTML output and as a widget.
import { mountComparison } from "../capture/compare.ts";
import { resultWidget, upgradeResults } from "../core/host.ts";

upgradeResults("captures", mountComparison);
export default resultWidget(mountComparison);
export { mountComparison as mount }; // what the board calls
