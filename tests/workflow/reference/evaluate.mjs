// Evaluates JSONata with the reference implementation and the functions that AWS Step Functions adds to it.
// Reads a line [expression, $states, variables] each, writes {"value": ...}, {"code": ...} or {"undefined": true}.
//
//   node evaluate.mjs DIRECTORY-WITH-node_modules < lines

import { createHash, randomUUID } from "node:crypto";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { join, resolve } from "node:path";

const jsonata = createRequire(join(resolve(process.argv[2]), "package.json"))("jsonata");

function addFunctionsOfStepFunctions(expression) {
  expression.registerFunction("partition", (array, size) => {
    const parts = [];
    for (let start = 0; start < array.length; start += Math.floor(size)) {
      parts.push(array.slice(start, start + Math.floor(size)));
    }
    return parts;
  });
  expression.registerFunction("range", (start, end, step) => {
    const values = [];
    for (let value = Math.floor(start); step > 0 ? value <= end : value >= end; value += Math.floor(step)) {
      values.push(value);
    }
    return values;
  });
  expression.registerFunction("hash", (text, algorithm) =>
    createHash(algorithm.toLowerCase().replace("-", "")).update(text, "utf8").digest("hex"),
  );
  expression.registerFunction("random", () => Math.random());
  expression.registerFunction("uuid", () => randomUUID());
  expression.registerFunction("parse", (text) => JSON.parse(text));
}

async function evaluate([text, states, variables]) {
  try {
    const expression = jsonata(text);
    addFunctionsOfStepFunctions(expression);
    const value = await expression.evaluate(undefined, { ...variables, states });
    return value === undefined ? { undefined: true } : { value };
  } catch (error) {
    return { code: error.code ?? String(error) };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await evaluate(JSON.parse(line))));
}
