// The session bar, in place of its static HTML, or as a widget.
import { resultWidget, upgradeResults } from "../core/host.ts";
import { mountSession } from "../session/view.ts";

upgradeResults("session", mountSession);
export default resultWidget(mountSession);
export { mountSession as mount }; // what the board calls
