// The explorer of an alignment, in an HTML output and as a widget.
import { mountAlign } from "../align/view.ts";
import { resultWidget, upgradeResults } from "../core/host.ts";

upgradeResults("align", mountAlign);
export default resultWidget(mountAlign);
export { mountAlign as mount }; // what the board calls
