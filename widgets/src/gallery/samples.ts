// The shared parts, each in its states: what views are made of, before any view.
import "./samples/controls.ts";
import "./samples/curves.ts";
import "./samples/heatmap.ts";
import "./samples/scatter.ts";
import "./samples/table.ts";
