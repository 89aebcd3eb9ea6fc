/**
 * The repository's source files, and what the tidy test asks of them: code without its comments and
 * texts, the extent of each function, the files that each file imports.
 *
 * Nothing here parses. All files are formatted, and `format` of `npm run ok` says so, hence a body
 * ends at the first line that closes it at the indentation it was opened at.
 *
 * @module
 */

import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));

const skippedDirectories = new Set([".git", ".zig-cache", "node_modules", "zig-out", "zig-pkg"]);

/** Written by a program, so nobody can tidy them by hand. */
const generated = new Set(["lib/abi.ts", "package-lock.json"]);

/** A text file of the repository. */
export interface SourceFile {
  /** Relative to the root of the repository, with slashes. */
  readonly path: string;
  readonly language: "zig" | "script" | "prose";
  readonly lines: readonly string[];
  /** The lines with comments removed and the insides of quoted texts blanked. */
  readonly code: readonly string[];
}

/** A function and where its text stands; both line numbers count from 1 and are included. */
export interface FunctionExtent {
  readonly name: string;
  readonly first: number;
  readonly last: number;
}

/** Reads every source and document of the repository that a person wrote. */
export function readSources(): SourceFile[] {
  const found: SourceFile[] = [];
  const visit = (directory: string) => {
    for (const entry of readdirSync(directory, { withFileTypes: true })) {
      const path = join(directory, entry.name);
      if (entry.isDirectory()) {
        if (!skippedDirectories.has(entry.name)) visit(path);
        continue;
      }
      const name = relative(root, path).replaceAll("\\", "/");
      const language = languageOf(name);
      if (language === undefined || generated.has(name)) continue;
      found.push(sourceFile(name, language, readFileSync(path, "utf8")));
    }
  };
  visit(root);
  return found.toSorted((a, b) => (a.path < b.path ? -1 : 1));
}

/** Makes the description of a file from its text. */
export function sourceFile(
  path: string,
  language: SourceFile["language"],
  text: string,
): SourceFile {
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();
  return { path, language, lines, code: language === "prose" ? lines : codeOf(lines, language) };
}

function languageOf(path: string): SourceFile["language"] | undefined {
  if (path.startsWith("tests/fixtures/")) return undefined;
  if (path.endsWith(".zig")) return "zig";
  if (/\.(ts|mjs)$/.test(path)) return "script";
  if (/\.(md|json|toml|sh)$/.test(path) || path === ".ci/run") return "prose";
  return undefined;
}

/**
 * Removes comments and blanks texts. A block comment, a template and a regular expression may span
 * or contain anything, so they are recognised roughly: a rule must not depend on more than "this
 * word stands in code".
 */
function codeOf(lines: readonly string[], language: "zig" | "script"): string[] {
  const code: string[] = [];
  let inBlockComment = false;
  for (const line of lines) {
    let text = line;
    if (language === "script") {
      if (inBlockComment) {
        const end = text.indexOf("*/");
        inBlockComment = end < 0;
        text = end < 0 ? "" : text.slice(end + 2);
      }
      text = text.replaceAll(/\/\*.*?\*\//g, "");
      const start = /(^|\s)\/\*/.exec(text);
      if (start !== null) {
        inBlockComment = true;
        text = text.slice(0, start.index);
      }
    } else if (/^\s*\\\\/.test(text)) {
      text = "";
    }
    text = text
      .replaceAll(/"(?:[^"\\]|\\.)*"/g, '""')
      .replaceAll(/'(?:[^'\\]|\\.)*'/g, "''")
      .replaceAll(/`(?:[^`\\]|\\.)*`/g, "``");
    code.push(text.replace(/\/\/.*$/, "").trimEnd());
  }
  return code;
}

const zigFunction = /^(\s*)(?:pub |export |inline |noinline )*fn (@?[\w"]+)\(/;
const scriptFunction = /^(\s*)(?:export |default |async )*function\*? ?([\w$]*)/;
const scriptMethod =
  /^(\s+)(?:static |async |override |public |private |get |set |\*)*(#?[\w$]+)(?:<.*>)?\(/;
const scriptArrow =
  /^(\s*)(?:export )?(?:const|let) ([\w$]+)(?::.*)? = (?:async )?(?:<.*>)?\(.*(?:=> \{|\($|, $|,$)/;
const notMethods = new Set(
  "if for while switch catch with return function await super new describe it test"
    .split(" "),
);

/**
 * Returns the functions of a file, nested ones included. A Zig function that returns a type is a
 * container and not a function; its methods are listed instead.
 */
export function functionsOf(file: SourceFile): FunctionExtent[] {
  const found: FunctionExtent[] = [];
  file.lines.forEach((line, index) => {
    const start = file.language === "zig" ? zigFunction.exec(line) : startOfScriptFunction(line);
    if (start === null) return;
    const [, indentation = "", name = ""] = start;
    const opened = findOpening(file.lines, index, indentation);
    if (opened === undefined || / type \{$/.test(file.lines[opened] ?? "")) return;
    const closed = findClosing(file.lines, opened, indentation);
    if (closed !== undefined) found.push({ name, first: index + 1, last: closed + 1 });
  });
  return found;
}

function startOfScriptFunction(line: string): RegExpExecArray | null {
  const start = scriptFunction.exec(line) ?? scriptArrow.exec(line);
  if (start !== null) return start;
  const method = scriptMethod.exec(line);
  return method === null || notMethods.has(method[2] ?? "") ? null : method;
}

/** Returns the line that ends the signature and opens the body; undefined if there is no body. */
function findOpening(lines: readonly string[], from: number, indentation: string) {
  for (let index = from; index < lines.length; index += 1) {
    const line = lines[index] ?? "";
    if (line.endsWith("{") && !line.endsWith("error{")) {
      // A parameter may open a brace of its own; the body's stands at the function's indentation.
      if (index === from || /^\s*[)}>]/.test(line.slice(indentation.length, -1))) return index;
    }
    const ended = index > from && !line.startsWith(`${indentation} `);
    if (line.endsWith(";") || line.endsWith("}") || ended) return undefined;
  }
  return undefined;
}

function findClosing(lines: readonly string[], opened: number, indentation: string) {
  for (let index = opened + 1; index < lines.length; index += 1) {
    const line = lines[index] ?? "";
    if (!line.startsWith(`${indentation}}`)) continue;
    // `});` closes a call, so what was opened was no function of this name.
    return /^\}[,;]?$/.test(line.slice(indentation.length)) ? index : undefined;
  }
  return undefined;
}

/** Returns what a file imports: as written, except that relative paths start at the root. */
export function importsOf(file: SourceFile): string[] {
  const text = file.lines.filter((line) => !/^\s*(\/\/|\*)/.test(line)).join("\n");
  const pattern = file.language === "zig"
    ? /@import\("([^"]+)"\)/g
    : /(?:\bfrom|\bimport)\s*\(?\s*"([^"]+)"/g;
  return [...text.matchAll(pattern)].map(([, target = ""]) => {
    const isPath = file.language === "zig" ? target.endsWith(".zig") : /^\.\.?\//.test(target);
    return isPath ? normalize(join(dirname(file.path), target)) : target;
  });
}
