// The capture browser, in an HTML output and as a widget.
import { mountCapture } from "../capture/view.ts";
import { resultWidget, upgradeResults } from "../core/host.ts";

upgradeResults("capture", mountCapture);
export default resultWidget(mountCapture);
export { mountCapture as mount }; // what the board calls
