// A training that is over, in place of its static HTML, or as a widget.
import { resultWidget, upgradeResults } from "../core/host.ts";
import { mountTrain } from "../monitor/train.ts";

upgradeResults("train", mountTrain);
export default resultWidget(mountTrain);
export { mountTrain as mount }; // what the board calls
