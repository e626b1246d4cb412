// Where dictionaries stand, in place of its static HTML, or as a widget.
import { resultWidget, upgradeResults } from "../core/host.ts";
import { mountStanding } from "../standing/view.ts";

upgradeResults("standing", mountStanding);
export default resultWidget(mountStanding);
export { mountStanding as mount }; // what the board calls
