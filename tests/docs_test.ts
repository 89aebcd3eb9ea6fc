/** What the READMEs say about the code is what the code says. */

import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Limit, Record as RowRecord, Region, Status } from "../lib/abi.ts";
import { readSources } from "./support/sources.ts";

const root = fileURLToPath(new URL("../", import.meta.url));
const columnsMax = 120;

function read(path: string): string {
  return readFileSync(join(root, path), "utf8");
}

/** Returns the part of a page below a heading, up to the next heading of its rank. */
function section(page: string, heading: string): string {
  const start = page.indexOf(`\n## ${heading}\n`);
  assert.ok(start >= 0, `there is no heading "${heading}"`);
  const end = page.indexOf("\n## ", start + 1);
  return page.slice(start, end < 0 ? undefined : end);
}

/** Returns the cells of all rows of the tables in a text. */
function rowsOf(text: string): string[][] {
  return text.split("\n").filter((line) => /^\| [^-]/.test(line)).map((line) =>
    line.slice(1, -1).split("|").map((cell) => cell.trim())
  );
}

/** Returns the name in backquotes that each row of the tables in a text begins with. */
function namesOf(text: string): string[] {
  return rowsOf(text).flatMap(([first = ""]) => /^`([^`]+)`$/.exec(first)?.[1] ?? []);
}

/** Fails if a table does not list each of `wanted` once, and nothing else. */
function assertLists(page: string, listed: readonly string[], wanted: readonly string[]): void {
  const missing = wanted.filter((name) => !listed.includes(name));
  const unknown = listed.filter((name) => !wanted.includes(name));
  const twice = listed.filter((name, at) => listed.indexOf(name) !== at);
  assert.deepEqual(
    { missing, unknown, twice },
    { missing: [], unknown: [], twice: [] },
    `${page}: change its table`,
  );
}

const sources = readSources();

/** The titles of the tests of a file, as far as their first line. */
function titlesOf(file: string): string[] {
  const found = sources.find(({ path }) => path === `src-zig/${file}` || path === `tests/${file}`);
  // A title may begin on the line after `test(`.
  return (found?.lines ?? []).flatMap((line, index, lines) => {
    const before = lines[index - 1] ?? "";
    const isTitle = /^ *test[ (]/.test(line) || /^ *test\($/.test(before);
    return isTitle ? [line] : [];
  });
}

/** Whether there is the kernel, operation or test that a page names. */
function isProved(name: string): boolean {
  const [file = "", title = ""] = name.split(/: (.*)/);
  if (title !== "") return titlesOf(file).some((one) => one.includes(title));
  const [first = "", operation] = name.split(" ");
  if (operation !== undefined && first !== "crashstep") return false;
  const path = `src-zig/sim/${operation === undefined ? "kernels/" : "crash_operations.zig"}`;
  const quoted = `"${operation ?? first}"`;
  return sources.some((source) =>
    source.path.startsWith(path) && source.lines.some((line) => line.includes(quoted))
  );
}

const pages = sources.filter(({ path }) => path.endsWith(".md"));

describe("src-zig/sim/README.md", () => {
  test("has every deliberate mistake, and a kernel that catches it", () => {
    const [, list = ""] = /pub const Mutation = enum \{([^}]*)\}/.exec(
      read("src-zig/sim/mutation.zig"),
    ) ?? [];
    const mistakes = (list.match(/\w+/g) ?? []).filter((name) => name !== "none");
    const page = section(read("src-zig/sim/README.md"), "Mistakes that have to be caught");
    assertLists("src-zig/sim/README.md", namesOf(page), mistakes);
    for (const [mistake = "", , kernel = ""] of rowsOf(page).slice(1)) {
      const [name = ""] = /[a-z]\w*\.\w+/.exec(kernel) ?? [];
      const source = read(`src-zig/sim/kernels/${name.split(".")[0]}.zig`);
      assert.ok(source.includes(`.name = "${name}"`), `there is no kernel ${kernel}`);
      assert.ok(source.includes(`.${mistake.slice(1, -1)}`), `${name} does not catch ${mistake}`);
    }
  });
});

describe("README.md", () => {
  test("says of every error code what to do", () => {
    const codes = Object.keys(Status).filter((code) => code !== "ok");
    const page = section(read("README.md"), "When something goes wrong");
    assertLists("README.md", namesOf(page), codes);
    for (const [code = "", advice = ""] of rowsOf(page)) assert.ok(advice.length > 10, code);
  });

  test("has the limits of the library", () => {
    const limits = new Map(
      rowsOf(section(read("README.md"), "Limits")).map(([what = "", limit = ""]) => [what, limit]),
    );
    const format = (value: number) => value.toLocaleString("en-US");
    const expected: readonly (readonly [string, string])[] = [
      ["Tables of a database", format(Limit.tables_max)],
      ["Columns of a table", format(Limit.columns_max)],
      ["A row with all columns full", `${format(Limit.payload_size_max)} bytes`],
      ["A search with its values", `${Limit.buffer_size / 2 ** 20} MiB`],
      ["A primary key", `at most ${Limit.key_size_max} bytes`],
      ["Processes that have a database open", format(Limit.processes_max)],
      ["Transactions open at one time", `${Limit.transactions_max} in all processes`],
      [
        "A region",
        `${Limit.region_size_min / 2 ** 20} MiB to ${Limit.region_size_max / 2 ** 30} GiB`,
      ],
    ];
    for (const [what, limit] of expected) {
      assert.ok(limits.get(what)?.includes(limit), `${what}: ${limits.get(what)}, not ${limit}`);
    }
  });
});

describe("the READMEs of directories", () => {
  test("list every Zig file", () => {
    const files = sources.flatMap(({ path }) =>
      path.startsWith("src-zig/") && path.endsWith(".zig") ? [path.slice("src-zig/".length)] : []
    );
    const listed = namesOf(section(read("src-zig/README.md"), "Files"));
    assertLists("src-zig/README.md", listed, files);
  });

  test("list every file of the library", () => {
    const text = section(read("lib/README.md"), "Files");
    const listed = rowsOf(text).flatMap(([first = ""]) =>
      [...first.matchAll(/`([^`]+)`/g)].map(([, name = ""]) => name)
    );
    const files = readdirSync(join(root, "lib"), { withFileTypes: true }).flatMap((entry) => {
      if (entry.isDirectory()) return [`${entry.name}/`];
      return entry.name.endsWith(".ts") ? [entry.name.slice(0, -".ts".length)] : [];
    });
    assertLists("lib/README.md", listed, files);
  });

  test("list every test", () => {
    const files = readdirSync(join(root, "tests")).filter((name) => name.endsWith("_test.ts"));
    assertLists("tests/README.md", namesOf(section(read("tests/README.md"), "Files")), files);
  });

  test("name kernels that the simulator has", () => {
    const kernels = sources.filter(({ path }) => path.startsWith("src-zig/sim/kernels/"))
      .flatMap(({ lines }) => lines).join("\n");
    const prefixes = new Set([...kernels.matchAll(/"(\w+)\.\w+"/g)].map(([, prefix]) => prefix));
    const named = section(read("src-zig/README.md"), "When a process dies");
    const unknown = [...named.matchAll(/`((\w+)\.\w+)`/g)].flatMap(([, name = "", prefix]) =>
      !prefixes.has(prefix) || kernels.includes(`"${name}"`) ? [] : [name]
    );
    assert.deepEqual(unknown, []);
  });

  test("name tests and kernels that are there, for every place to be killed at", () => {
    const page = read("tests/README.md");
    const matrix = section(page, "Killed right here");
    const numbers = rowsOf(matrix).flatMap(([first = ""]) => /^\d+$/.test(first) ? [first] : []);
    assert.deepEqual(numbers, Array.from({ length: 37 }, (_, index) => String(index + 1)));
    const faults = section(page, "What else can go wrong");
    const claims = [matrix, faults].flatMap((text) =>
      rowsOf(text).filter(([first]) => first !== "#" && first !== "What happens")
    );
    const without = claims.filter((cells) => !(cells.at(-1) ?? "").includes("`"));
    assert.deepEqual(without, []);
    const evidence = claims.map((cells) => cells.at(-1)).join() +
      matrix.slice(matrix.indexOf("Beside these"));
    const unknown = [...evidence.matchAll(/`([^`]+)`/g)].flatMap(([, name = ""]) =>
      isProved(name) ? [] : [name]
    );
    assert.deepEqual(unknown, []);
  });

  test("have the numbers of the border", () => {
    const record = rowsOf(section(read("lib/README.md"), "The border"));
    for (const [field, offset] of Object.entries(RowRecord)) {
      if (field === "size") continue;
      const found = record.find(([, name]) => name?.startsWith(`\`${field}\``));
      assert.equal(found?.[0], String(offset), `lib/README.md: ${field}`);
    }
    const engine = read("src-zig/README.md");
    const magic = Region.magic.toString(16).toUpperCase();
    assert.ok(engine.includes(`magic = 0x${magic}`));
    assert.ok(engine.includes(`layout_version = ${Region.layout_version}`));
  });
});

describe("all pages", () => {
  test(`are at most ${columnsMax} columns wide, apart from tables`, () => {
    const isWide = (line: string) => [...line].length > columnsMax && !line.startsWith("|");
    const wide = pages.flatMap(({ path, lines }) =>
      lines.flatMap((line, index) => isWide(line) ? [`${path}:${index + 1}`] : [])
    );
    assert.deepEqual(wide, []);
  });

  test("link to files that are there", () => {
    const broken = pages.flatMap(({ path, lines }) =>
      [...lines.join("\n").matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)].flatMap(([, target = ""]) =>
        existsSync(join(root, dirname(path), target)) ? [] : [`${path}: ${target}`]
      )
    );
    assert.deepEqual(broken, []);
  });

  test("name commands that package.json has", () => {
    const { scripts } = JSON.parse(read("package.json")) as { scripts: Record<string, string> };
    const unknown = pages.flatMap(({ path, lines }) =>
      [...lines.join("\n").matchAll(/npm run ([\w:]+)/g)].flatMap(([, name = ""]) =>
        name in scripts ? [] : [`${path}: npm run ${name}`]
      )
    );
    assert.deepEqual(unknown, []);
  });
});
