// Several curves over each other, each with a colour and a dash of its own.
import { tick } from "../core/format.ts";

export interface Line {
  steps: number[];
  values: number[];
  colour: string;
  dash: readonly number[];
}

const PAD = { left: 44, right: 8, top: 6, bottom: 18 };

/** Draw lines over steps; on a logarithmic scale where values fall over more than a decade. */
export function drawCurves(canvas: HTMLCanvasElement, lines: readonly Line[]): void {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const pen = canvas.getContext("2d");
  if (!pen || width === 0) return;
  const scale = devicePixelRatio;
  [canvas.width, canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  const all = lines.flatMap((line) => line.values);
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const last = Math.max(...lines.map((line) => line.steps.at(-1) ?? 0), 1);
  const log = low > 0 && high / low > 10;
  const scaled = (value: number) => (log ? Math.log(value) : value);
  const spread = scaled(high) - scaled(low) || 1;
  const x = (step: number) => PAD.left + (step / last) * (width - PAD.left - PAD.right);
  const y = (value: number) => PAD.top + (1 - (scaled(value) - scaled(low)) / spread) * (height - PAD.top - PAD.bottom);
  const style = getComputedStyle(canvas);
  pen.font = `11px ${style.fontFamily}`;
  pen.fillStyle = style.color;
  pen.textBaseline = "middle";
  pen.textAlign = "right";
  for (const value of [high, low]) pen.fillText(tick(value), PAD.left - 6, y(value));
  pen.textBaseline = "bottom";
  pen.fillText(tick(last), width - PAD.right, height);
  pen.lineWidth = 1.6;
  pen.lineJoin = "round";
  for (const line of lines) {
    pen.strokeStyle = line.colour;
    pen.setLineDash([...line.dash]);
    pen.beginPath();
    line.steps.forEach((step, i) => pen.lineTo(x(step), y(line.values[i]!)));
    pen.stroke();
  }
  pen.setLineDash([]);
}
