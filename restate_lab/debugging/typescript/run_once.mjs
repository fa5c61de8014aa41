
// What follows is the end of a program that starts with the helper: it runs a record once and writes what became of it.

import { writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [journal, app, options, target] = process.argv.slice(2);
const result = {};
try {
  const outcome = await Record.load(pathToFileURL(journal), "").run(() => import(pathToFileURL(app)), JSON.parse(options));
  Object.assign(result, { ...outcome, returned: undefined, value: JSON.stringify(outcome.returned) });
} catch (error) {
  const kinds = [[Diverges, "diverges"], [StepWithoutResult, "step without result"], [ReplayError, "not run"]];
  const outcome = kinds.find(([type]) => error instanceof type)?.[1] ?? "fails";
  Object.assign(result, { outcome, message: String(error?.message ?? error), type: error?.name, stack: error?.stack });
}
writeFileSync(target, JSON.stringify(result));
process.exit(0);
