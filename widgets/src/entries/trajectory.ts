// Inlined after the static HTML of a trajectory; as a module, the same view of a widget.
import { resultWidget, upgradeResults } from "../core/host.ts";
import { mountTrajectory } from "../diff/trajectory.ts";

upgradeResults("trajectory", mountTrajectory);
export default resultWidget(mountTrajectory);
export { mountTrajectory as mount }; // what the board calls
