// Bundles: one self-contained ES module per view into aquin_nb/widgets/static/; the node tests with --tests; the gallery of
// every view in every state with --gallery, into .gallery/ (open its index.html; it is in no wheel).
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { deflateRawSync } from "node:zlib";
import esbuild from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, "..", "aquin_nb", "widgets", "static");
const LIMIT = 60_000; // bytes of each as it is sent, and saved in a notebook, once an instance: views go deflated, as base64

if (process.argv.includes("--tests")) {
  const folder = join(here, ".test-build");
  rmSync(folder, { recursive: true, force: true });
  const tests = readdirSync(join(here, "test")).filter((name) => name.endsWith(".test.ts"));
  await esbuild.build({
    entryPoints: tests.map((name) => join(here, "test", name)),
    outdir: folder,
    outExtension: { ".js": ".mjs" },
    bundle: true,
    platform: "node",
    target: "node20",
    format: "esm",
    loader: { ".css": "text" },
  });
} else if (process.argv.includes("--gallery")) {
  const folder = join(here, ".gallery");
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "index.html"), `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><body><script src="gallery.js"></script>`);
  const common = { bundle: true, charset: "utf8", format: "iife", target: ["es2022"], loader: { ".css": "text" } };
  await esbuild.build({ ...common, entryPoints: [join(here, "src", "gallery", "gallery.ts")], outdir: folder, minify: true, plugins: [minifiedCss(), samples()] });
  await esbuild.build({ ...common, stdin: { contents: 'import axe from "axe-core"; globalThis.axe = axe;', resolveDir: here }, outfile: join(folder, "axe.js"), minify: true, legalComments: "inline" });
  console.log(join(folder, "index.html"));
} else {
  const options = {
    entryPoints: {
      monitor: join(here, "src", "monitor.ts"), // the anywidget, and `upgrade` for hosts of their own
      job: join(here, "src", "job.ts"), // the anywidget of any other job that runs
      board: join(here, "src", "board", "board.ts"), // the page of the orchestrator
      "result-table": join(here, "src", "entries", "table.ts"), // inlined after results shown as tables
      bridge: join(here, "src", "bridge.ts"), // the undisplayed widget through which results' views ask their kernel
      ...views(),
    },
    outdir: out,
    bundle: true,
    minify: true,
    charset: "utf8",
    legalComments: "none",
    format: "esm",
    target: ["es2022"],
    supported: { "top-level-await": false }, // a widget whose module takes two seconds to load never hears its kernel
    loader: { ".css": "text" },
    plugins: [minifiedCss()],
  };
  if (process.argv.includes("--watch")) {
    await (await esbuild.context(options)).watch();
  } else {
    const built = new Set(Object.keys(options.entryPoints).map((name) => `${name}.js`));
    mkdirSync(out, { recursive: true });
    for (const name of readdirSync(out)) if (name.endsWith(".js") && !built.has(name)) rmSync(join(out, name)); // of an earlier version
    await esbuild.build(options);
    for (const name of readdirSync(out).filter((file) => file.endsWith(".js"))) {
      const text = readFileSync(join(out, name));
      const sent = name.startsWith("view-") ? deflateRawSync(text, { level: 9 }).toString("base64").length : text.length;
      console.log(`${name.padEnd(20)} ${String(text.length).padStart(7)} bytes, ${String(sent).padStart(6)} sent`);
      if (sent > LIMIT) throw new Error(`${name} is sent as ${sent} bytes; the limit is ${LIMIT}`);
    }
  }
}

/** Each other module of src/entries is the interactive view of one kind: view-<kind>.js. */
function views() {
  const folder = join(here, "src", "entries");
  const kinds = readdirSync(folder).map((name) => name.replace(/\.ts$/, "")).filter((kind) => kind !== "table");
  return Object.fromEntries(kinds.map((kind) => [`view-${kind}`, join(folder, `${kind}.ts`)]));
}

/** Style sheets are imported as text for shadow roots; esbuild minifies text only when told so file by file. */
function minifiedCss() {
  return {
    name: "minified-css",
    setup(build) {
      build.onLoad({ filter: /\.css$/ }, async ({ path }) => {
        const { readFile } = await import("node:fs/promises");
        const { code } = await esbuild.transform(await readFile(path, "utf8"), { loader: "css", minify: true });
        return { contents: code.trim(), loader: "text", watchFiles: [path] };
      });
    },
  };
}

/** "gallery:samples" is every samples.ts below src/. */
function samples() {
  return {
    name: "samples",
    setup(build) {
      build.onResolve({ filter: /^gallery:samples$/ }, () => ({ path: "samples", namespace: "gallery" }));
      build.onLoad({ filter: /.*/, namespace: "gallery" }, () => {
        const found = readdirSync(join(here, "src"), { recursive: true }).filter((name) => /(^|[\\/])samples\.ts$/.test(name));
        return { contents: found.sort().map((name) => `import ${JSON.stringify(join(here, "src", name))};`).join("\n"), resolveDir: here };
      });
    },
  };
}
