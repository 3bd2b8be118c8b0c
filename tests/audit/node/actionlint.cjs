// Judge GitHub workflows with actionlint: node actionlint.cjs <workflow.yml> ...; prints [{file, kind, message}, ...].
// The package's own command prints for people, and ends with 0 whatever it finds; what it wraps is actionlint itself.
const fs = require("fs");
const path = require("path");

const home = path.join(__dirname, "node_modules", "@tktco", "node-actionlint");
require(path.join(home, "wasm_exec.js"));

(async () => {
  globalThis.throwError = (message) => {
    throw new Error(message);
  };
  const go = new Go();
  const { instance } = await WebAssembly.instantiate(fs.readFileSync(path.join(home, "main.wasm")), go.importObject);
  go.run(instance); // ends with the process
  const found = [];
  for (const file of process.argv.slice(2)) {
    for (const finding of await globalThis.runActionlint(fs.readFileSync(file, "utf8"), file)) {
      found.push({ file, kind: finding.kind, message: finding.message });
    }
  }
  console.log(JSON.stringify(found));
  process.exit(0);
})();
