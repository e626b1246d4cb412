// The session bar as a picture: its facts, and a line and a bar for every job.
import type { Colours } from "../core/palette.ts";
import type { Picture } from "../core/picture.ts";
import type { Pen } from "../core/svg.ts";
import { dictionaryLine, jobLine, memoryLine, modelLine, syncLine, type SessionState } from "./words.ts";

const [WIDTH, PAD, LINE, NAMES] = [720, 16, 20, 84];
const LONGEST = 160; // characters of a line
const UI = "system-ui, sans-serif";

export function sessionPicture(ruler: Pen, colours: Colours, { name, model, dictionary, memory, sync, jobs, at }: SessionState): Picture {
  const facts = [["Model", `${model.name} · ${modelLine(model)}`], ["Dictionary", dictionaryLine(dictionary)], ["Memory", memoryLine(memory)], ["Board", syncLine(sync, 1000 * at).text]] as const;
  const list = PAD + 28 + LINE * facts.length + 16;
  const draw = (pen: Pen) => {
    const text = (said: string, x: number, y: number, colour = colours.fg, font = `12px ${UI}`) => {
      [pen.font, pen.fillStyle, ruler.font] = [font, colour, font];
      let short = said.slice(0, LONGEST);
      while (short && ruler.measureText(short).width > WIDTH - PAD - x) short = short.slice(0, -1);
      pen.fillText(short === said ? said : `${short.slice(0, -1)}…`, x, y);
      return x + ruler.measureText(short).width + 8;
    };
    [pen.textAlign, pen.textBaseline] = ["left", "alphabetic"];
    text(name, PAD, PAD + 14, colours.fg, `600 15px ${UI}`);
    facts.forEach(([fact, said], i) => {
      const y = PAD + 40 + LINE * i;
      text(fact, PAD, y, colours.muted);
      text(said, PAD + NAMES, y);
    });
    jobs.forEach((job, i) => {
      const y = list + 28 * i;
      text(jobLine(job), text(job.name, PAD, y + 12, colours.fg, `600 12px ${UI}`), y + 12, job.status === "failed" ? colours.bad : colours.muted);
      if (job.status !== "running") return;
      pen.fillStyle = colours.track;
      pen.fillRect(PAD, y + 18, WIDTH - 2 * PAD, 3);
      pen.fillStyle = colours.line;
      pen.fillRect(PAD, y + 18, (WIDTH - 2 * PAD) * Math.min(1, Math.max(0, job.fraction)), 3);
    });
  };
  return { width: WIDTH, height: list + 28 * jobs.length + PAD, draw };
}
