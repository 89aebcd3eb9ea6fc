/**
 * From a search to something that can be run again and again: reads it, plans it, encodes it, and
 * remembers the searches that a table has seen last.
 *
 * @module
 */

import { type Clause, type Dialect, isParameter, type Query } from "../stapi/ast.ts";
import { readSearch, type SearchQuery } from "../stapi/object_form.ts";
import { parseSearch } from "../stapi/parser.ts";
import { PlanEncoder } from "./encode.ts";
import { explainPlan, type Explanation } from "./explain.ts";
import type { Measurement } from "./measurement.ts";
import type { Plan, PlanCounts } from "./plan.ts";
import { planQuery } from "./planner.ts";
import type { TableMeta } from "./table_meta.ts";

/** Searches in one generation of a cache. */
const generationSize = 256;
/** Longer searches (in-lists, mostly) seldom come back, and would hold much memory. */
const rememberedLengthMax = 4096;

/** Most purposes that a query remembers. */
const variantsMax = 32;

/**
 * The last searches of one dialect: at least `generationSize` different ones, at most twice that.
 * What was used since the last change of generation survives the next. Nothing is ever deleted from
 * a map, which is slow to find its oldest entry then.
 */
class SearchCache {
  #young = new Map<string, CompiledQuery>();
  #old = new Map<string, CompiledQuery>();

  get(search: string): CompiledQuery | undefined {
    const young = this.#young.get(search);
    if (young !== undefined) return young;
    const old = this.#old.get(search);
    if (old !== undefined) this.set(search, old);
    return old;
  }

  set(search: string, query: CompiledQuery): void {
    if (this.#young.size >= generationSize) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(search, query);
  }
}

/** A query ready to run. */
export class CompiledQuery {
  readonly #query: Query;
  readonly #counts: PlanCounts;
  #plan: Plan;
  /** The `indexVersion` that the plan is for. */
  #version: number;
  #encoder: PlanEncoder | null = null;
  /** Clauses whose glob is a parameter: whether an index helps depends on how it begins. */
  #openGlobs: ReadonlyMap<Clause, number>;
  #variants: Map<string, CompiledQuery> | undefined;

  /**
   * Plans a query.
   *
   * @param query The query.
   * @param counts The counts of its table.
   */
  constructor(query: Query, counts: PlanCounts) {
    this.#query = query;
    this.#counts = counts;
    this.#version = counts.indexVersion?.() ?? 0;
    this.#plan = planQuery(query, counts);
    this.#openGlobs = openGlobs(query);
  }

  /** The query, its names and values resolved. */
  get query(): Query {
    return this.#query;
  }

  /** The plan of the next run. */
  get plan(): Plan {
    return this.#plan;
  }

  /** Plans again if indexes have changed, or counts that the choice depended on. */
  refresh(): this {
    if (this.#replanForIndexes()) return this;
    for (const used of this.#plan.counts) {
      if (this.#counts.distinctKeys(used.index) === used.count) continue;
      this.#replan();
      break;
    }
    return this;
  }

  /** Plans again if the indexes of the table have changed. */
  refreshIndexes(): this {
    this.#replanForIndexes();
    return this;
  }

  /** Plans again if the indexes of the table have changed; returns whether they have. */
  #replanForIndexes(): boolean {
    const version = this.#counts.indexVersion?.() ?? 0;
    if (version === this.#version) return false;
    this.#version = version;
    this.#replan();
    return true;
  }

  #replan(): void {
    this.#plan = planQuery(this.#query, this.#counts);
    this.#openGlobs = openGlobs(this.#query);
    this.#encoder = null;
  }

  /**
   * Returns the same query for another purpose, planned for the counts of now.
   *
   * @param purpose What it is for; the same purpose gives the same object.
   * @param change Makes the other query. It keeps the clauses that have parameters.
   */
  variant(purpose: string, change: (query: Query) => Query): CompiledQuery {
    this.#variants ??= new Map();
    let variant = this.#variants.get(purpose);
    if (variant === undefined) {
      variant = new CompiledQuery(change(this.#query), this.#counts);
      if (this.#variants.size >= variantsMax) this.#variants.clear();
      this.#variants.set(purpose, variant);
    }
    return variant.refresh();
  }

  /**
   * Writes the plan for one run; see {@linkcode PlanEncoder.encode}.
   *
   * @param target The buffer to write into, from its start.
   * @param args The value of each parameter. Default: none.
   * @param flags Bits of `PlanFlag`. Default: none.
   * @param limitMax Most rows to give, should the query allow more. Default: no such limit.
   * @returns The number of bytes written.
   */
  encode(
    target: Uint8Array,
    args: readonly unknown[] = noArgs,
    flags = 0,
    limitMax = Infinity,
  ): number {
    if (this.#openGlobs.size > 0) {
      const known = this.#withGlobs(args);
      if (known !== undefined) return known.encode(target, args, flags, limitMax);
    }
    this.#encoder ??= new PlanEncoder(this.#plan);
    return this.#encoder.encode(target, args, flags, limitMax);
  }

  /** The query with the globs of one run, which is planned for them; undefined if one is none. */
  #withGlobs(args: readonly unknown[]): CompiledQuery | undefined {
    const globs = [...this.#openGlobs.values()].map((parameter) => args[parameter - 1]);
    if (!globs.every((glob) => typeof glob === "string")) return undefined;
    return this.variant(`glob ${JSON.stringify(globs)}`, (query) => ({
      ...query,
      clauses: query.clauses.map((clause) => {
        const parameter = this.#openGlobs.get(clause);
        const glob = parameter === undefined ? undefined : args[parameter - 1];
        return typeof glob === "string" ? { ...clause, operands: [glob] } : clause;
      }),
    }));
  }

  /**
   * Explains the plan of the next run.
   *
   * @param args The values of its parameters. Default: unknown.
   * @param measurement What a run took. Default: it was not run.
   */
  explain(args?: readonly unknown[], measurement?: Measurement): Explanation {
    const known = args === undefined || this.#openGlobs.size === 0
      ? undefined
      : this.#withGlobs(args);
    if (known !== undefined) return known.explain(args, measurement);
    return explainPlan(this.#plan, this.#counts, args, measurement);
  }
}

const noArgs: readonly unknown[] = [];

/** Finds the clauses that match a column of an index with a glob that is a parameter. */
function openGlobs({ clauses, table }: Query): ReadonlyMap<Clause, number> {
  const found = new Map<Clause, number>();
  for (const clause of clauses) {
    const [glob] = clause.operands;
    if (clause.operator !== "match" || clause.ignoreCase || glob === undefined) continue;
    if (!isParameter(glob)) continue;
    if (table.indexes.some(({ columns }) => columns.includes(clause.column))) {
      found.set(clause, glob.parameter);
    }
  }
  return found;
}

/**
 * Compiles the searches of one table. A search string that was seen before is not read again.
 *
 * @example The same string gives the same compiled query
 * ```ts
 * import assert from "node:assert/strict";
 * import { QueryCompiler } from "./compiler.ts";
 * import { tableMeta } from "./table_meta.ts";
 *
 * const table = tableMeta({
 *   id: 0,
 *   name: "Flight",
 *   primaryKey: 0,
 *   columns: [{ name: "flight_id", kind: "text", capacity: 16 }],
 * });
 * const compiler = new QueryCompiler(table, { rows: () => 1, distinctKeys: () => 1 });
 * const first = compiler.compile("-compare {= flight_id UAL1}");
 * assert.equal(compiler.compile("-compare {= flight_id UAL1}"), first);
 * ```
 */
export class QueryCompiler {
  readonly #table: TableMeta;
  readonly #counts: PlanCounts;
  readonly #caches: Readonly<Record<Dialect, SearchCache>> = {
    default: new SearchCache(),
    speedtables: new SearchCache(),
  };
  /** The search of the last call: many programs repeat one. */
  #lastText = "";
  #lastDialect: Dialect = "default";
  #last: CompiledQuery | undefined;

  /**
   * Starts with nothing remembered.
   *
   * @param table The table.
   * @param counts The counts of the table.
   */
  constructor(table: TableMeta, counts: PlanCounts) {
    this.#table = table;
    this.#counts = counts;
  }

  /** The table whose searches it compiles. */
  get table(): TableMeta {
    return this.#table;
  }

  /** The counts of the table. */
  get counts(): PlanCounts {
    return this.#counts;
  }

  /**
   * Compiles a search, or gives it as compiled before and planned for the counts of now.
   *
   * @param search A search string, or the object form.
   * @param dialect Whose rules to follow. Default: `"default"`.
   * @throws {AerostoreError} If the search cannot be understood.
   */
  compile<Row>(search: string | SearchQuery<Row>, dialect: Dialect = "default"): CompiledQuery {
    if (typeof search !== "string") {
      return new CompiledQuery(readSearch(search, this.#table, { dialect }), this.#counts);
    }
    if (this.#last === undefined || search !== this.#lastText || dialect !== this.#lastDialect) {
      this.#last = this.#lookUp(search, dialect);
      this.#lastText = search;
      this.#lastDialect = dialect;
    }
    return this.#last.refresh();
  }

  /**
   * Compiles a search whose values come later, as `$1`, `$2` ...
   *
   * @param search A search string, or the object form with text such as `"$1"` for a value.
   * @param dialect Whose rules to follow. Default: `"default"`.
   * @throws {AerostoreError} If the search cannot be understood; with `unknown_parameter` if a
   * parameter is skipped.
   */
  prepare<Row>(search: string | SearchQuery<Row>, dialect: Dialect = "default"): CompiledQuery {
    const options = { dialect, parameters: true };
    const query = typeof search === "string"
      ? parseSearch(search, this.#table, options)
      : readSearch(search, this.#table, options);
    return new CompiledQuery(query, this.#counts);
  }

  #lookUp(search: string, dialect: Dialect): CompiledQuery {
    const cache = this.#caches[dialect];
    let found = cache.get(search);
    if (found === undefined) {
      found = new CompiledQuery(parseSearch(search, this.#table, { dialect }), this.#counts);
      if (search.length <= rememberedLengthMax) cache.set(search, found);
    }
    return found;
  }
}
