// A sweep, in place of its static HTML, or as a widget.
import { resultWidget, upgradeResults } from "../core/host.ts";
import { mountSweep } from "../sweep/view.ts";

upgradeResults("sweep", mountSweep);
export default resultWidget(mountSweep);
export { mountSweep as mount }; // what the board calls
