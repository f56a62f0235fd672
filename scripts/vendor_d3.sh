#!/usr/bin/env bash
# Rebuilds tmsjax/explorer/vendor/d3.js and its LICENSE, byte for byte, from packages of pinned versions.
# Needs Node 18 or newer, npm and a network; installs the packages into a temporary folder.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

packages=(
    d3-array@3.2.5 d3-color@3.1.1 d3-dispatch@3.0.2 d3-drag@3.0.1 d3-ease@3.0.2 d3-format@3.1.3 d3-interpolate@3.0.2
    d3-scale@4.0.3 d3-selection@3.0.1 d3-time@3.1.1 d3-time-format@4.1.1 d3-timer@3.0.2 d3-transition@3.0.2
    d3-zoom@3.0.1 internmap@2.0.3 esbuild@0.28.2
)
temporary="$(mktemp -d)"
trap 'rm -rf "$temporary"' EXIT
cd "$temporary"
echo '{"private": true}' > package.json
npm install --save-exact --no-package-lock --no-audit --no-fund --ignore-scripts --loglevel=error "${packages[@]}" >&2
cat > entry.js <<'END'
export { scaleLinear, scaleLog } from "d3-scale";
export { select } from "d3-selection";
export { zoom, zoomIdentity } from "d3-zoom";
END
cat > build.mjs <<'END'
import { readFileSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const { metafile, outputFiles } = await build({
    entryPoints: ["entry.js"], bundle: true, minify: true, format: "iife", globalName: "d3", target: "es2020",
    charset: "ascii", legalComments: "none", metafile: true, write: false,
});
const contained = new Set();
for (const [path, { bytesInOutput }] of Object.entries(Object.values(metafile.outputs)[0].inputs)) {
    const name = path.match(/^node_modules\/([^/]+)\//)?.[1];
    if (name && bytesInOutput > 0) contained.add(name);
}
const byLicence = new Map(); // text of a licence -> "name version" of the packages under it
for (const name of [...contained].sort()) {
    const { version, license } = JSON.parse(readFileSync(`node_modules/${name}/package.json`, "utf8"));
    const text = `${license} licence\n\n${readFileSync(`node_modules/${name}/LICENSE`, "utf8").trim()}\n`;
    byLicence.set(text, [...(byLicence.get(text) ?? []), `${name} ${version}`]);
}
const licences = [...byLicence].map(([text, names]) => `${names.join(", ")}: ${text}`).join("\n");
const code = outputFiles[0].text.replace(/^("use strict";)?var d3=/, "$1const d3=");
if (!code.includes("const d3=")) throw new Error("the bundle doesn't begin with d3");
const unsafe = [/\beval\b/, /\bFunction\(/, /<\/script/i, /<!--/, /XMLHttpRequest/, /\bfetch\(/, /\bimport\(/];
for (const words of unsafe) if (words.test(code)) throw new Error(`the bundle contains ${words}`);
const comment = licences.replaceAll("*/", "* /").replace(/^\* /gm, "- ");
writeFileSync("d3.js", `/*!\nParts of D3, unchanged but bundled and minified.\n\n${comment}*/\n${code}`);
writeFileSync("LICENSE", licences);
END
node build.mjs
cp d3.js LICENSE "$root/tmsjax/explorer/vendor/"
wc -c "$root/tmsjax/explorer/vendor/d3.js"
