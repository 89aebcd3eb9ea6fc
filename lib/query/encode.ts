/**
 * Turns a plan into the bytes that the engine executes (`src-zig/plan.zig` checks and types them).
 *
 * What an executor has to know, beyond the layout there:
 *
 * - Every clause is tested on the visible version of a row, but for those that are marked as
 *   answered (4): the keys or bounds of the index have exactly the values that satisfy them. They
 *   are tested where the rows do not come by the index. Clauses stand in the order of the query.
 * - A null satisfies a clause only if its flag says so (and `null`). The flags of clauses and sort
 *   fields carry all that the dialects disagree about; the header's speedtables flag tells nothing
 *   more. Speedtables gives: nulls satisfy `>`, `>=` and `!=`, but not `in`, `range` or any glob;
 *   plain globs ignore case; null text sorts first, last when descending, while other nulls sort
 *   last, first when descending; true sorts before false, which is written as a descending field;
 *   a limit of 0 is none.
 * - After the last sort field rows are in ascending order of the primary key, in each direction.
 *   Without sort fields any order will do, and limit and offset count in that order.
 * - countOnly counts the rows that the query would give: behind the offset, up to the limit.
 * - A projection of 0 means every column.
 * - A primary key that cannot exist (longer than the column) is left out of the keys.
 *
 * Index routes. An index key is, for each of its leading columns that has a value, 8 bytes (an i64
 * for int32, int64 and bool, an f64 for float64 and timestamp) or, for text and bytes, u32 length,
 * the bytes, and zeros to a multiple of 8. Keys and bounds are such keys in cells: u32 length, the
 * key, zeros to a multiple of 8.
 *
 * - `IndexExactMatch` (2): `keys` holds the distinct whole keys, to be visited in the given order;
 *   the rows of one key are in ascending primary key order.
 * - `IndexRangeScan` (3): a bound may have fewer columns than the index. Compared with an entry on
 *   the columns it has, an inclusive bound lets equal entries in and an exclusive one does not. An
 *   entry that is null in a column of either bound may be left out. A low bound above the high one
 *   lets nothing in. A scan without bounds walks the whole index.
 * - Flag 1 walks from the high end to the low. Flag 32 says that the walk gives the order of the
 *   sort fields, so there is nothing to sort and the limit stops it; walking down, equal keys still
 *   have to be put in ascending primary key order.
 *
 * @module
 */

import { type Clause, isParameter, type Operator, type SortKey, type Value } from "../stapi/ast.ts";
import { QueryError } from "../stapi/query_error.ts";
import { Bindings } from "./bind.ts";
import { Cursor } from "./cursor.ts";
import { FixedPlan, type NumberPlace } from "./fixed_plan.ts";
import {
  distinctFitting,
  endCell,
  writeKeyPart,
  writeListItem,
  writeOperand,
  writePrimaryKey,
} from "./encode_values.ts";
import {
  compareValues,
  findContradiction,
  type Interval,
  isExact,
  mergeBounds,
} from "./interval.ts";
import { driverClauses, type Plan, type Route } from "./plan.ts";
import { keyCountMax, literalValues } from "./planner.ts";
import { type ColumnKind, columnOf } from "./table_meta.ts";

/** Bits of the plan's flags byte that a run may add. */
export const PlanFlag = {
  /** Only count. */
  countOnly: 1,
  /** Give positions of rows instead of copies, for views inside a transaction. */
  handles: 4,
  /** Batches are small, and end early: others run between them. */
  yields: 8,
} as const;

const speedtablesFlag = 2;

const headerSize = 64;
const clauseSize = 40;
const sortSize = 4;

/** Offsets in the header. */
const Header = {
  route: 6,
  flags: 7,
  keyCount: 12,
  limit: 16,
  offset: 24,
  keysAt: 48,
  scan: 56,
  boundsAt: 60,
} as const;

/** Offsets in a clause. */
const ClauseField = {
  flags: 2,
  count: 4,
  poolAt: 8,
  poolSize: 12,
  a: 16,
  b: 24,
  secondAt: 32,
  secondSize: 36,
} as const;

const routeCodes: Readonly<Record<Route, number>> = {
  Empty: 0,
  PrimaryKeyLookup: 1,
  IndexExactMatch: 2,
  IndexRangeScan: 3,
  IndexOrderScan: 3,
  FullScan: 4,
};

const operatorCodes: Readonly<Record<Operator, number>> = {
  null: 1,
  notnull: 2,
  "=": 3,
  "!=": 4,
  ">": 5,
  ">=": 6,
  "<": 7,
  "<=": 8,
  in: 9,
  range: 10,
  match: 11,
  notmatch: 12,
  true: 13,
  false: 14,
};

const ClauseFlag = { nullSatisfies: 1, ignoreCase: 2, answered: 4 } as const;

const ScanFlag = {
  descending: 1,
  low: 2,
  lowInclusive: 4,
  high: 8,
  highInclusive: 16,
  ordered: 32,
} as const;

/** The run from which on it pays to find the places of numbers. */
const fixedRunsMin = 4;

/** Nearly all plans go into the buffer of one connection. */
let lastCursor: Cursor | undefined;

/** Longer plans are copied by the general way, which is faster for them. */
const templateFixedMax = 1024;

/** No input buffer takes more than this. */
const templateSizeMax = 1 << 21;

/** Where templates are written before their size is known; it doubles until the literals fit. */
let scratch = new Uint8Array(4096);

/**
 * Encodes the runs of one plan. What all runs share is encoded once; a run copies that, and adds or
 * patches what its parameters decide.
 *
 * @example Encode a plan and look at its route
 * ```ts
 * import assert from "node:assert/strict";
 * import { PlanEncoder } from "./encode.ts";
 * import { planQuery } from "./planner.ts";
 * import { tableMeta } from "./table_meta.ts";
 * import { parseSearch } from "../stapi/parser.ts";
 *
 * const table = tableMeta({
 *   id: 3,
 *   name: "Flight",
 *   primaryKey: 0,
 *   columns: [{ name: "flight_id", kind: "text", capacity: 16 }],
 * });
 * const query = parseSearch("-compare {= flight_id $1}", table, { parameters: true });
 * const plan = planQuery(query, { rows: () => 1, distinctKeys: () => 1 });
 * const buffer = new Uint8Array(4096);
 * const size = new PlanEncoder(plan).encode(buffer, ["UAL123"]);
 * assert.equal(new DataView(buffer.buffer).getUint32(0, true), size);
 * assert.equal(buffer[6], 1); // PrimaryKeyLookup
 * ```
 */
export class PlanEncoder {
  readonly #plan: Plan;
  readonly #bindings: Bindings;
  /** The bytes that all runs share. */
  readonly #template: Int32Array;
  /** Numbers of the clauses whose values differ from run to run. */
  readonly #open: readonly number[];
  readonly #openDriver: boolean;
  /** The type of the column of each clause. */
  readonly #kinds: readonly ColumnKind[];
  /** The clauses that bound a range scan, and their values in each run. */
  readonly #bounds: readonly Clause[];
  readonly #boundValues: readonly (readonly Value[])[];
  /** Whether two clauses on one column can contradict each other in one run and not in the next. */
  readonly #mayContradict: boolean;
  #cursor: Cursor | undefined;
  /** Where numbers of clauses stand in the keys or bounds, while that is asked. */
  #places: NumberPlace[] | undefined;
  /** The plan, if runs differ only in numbers; undefined as long as nobody has asked. */
  #fixed: FixedPlan | null | undefined;
  /** Runs so far, up to those that are worth to ask. */
  #runs = 0;

  /**
   * Encodes what all runs share.
   *
   * @param plan The plan whose runs to encode.
   */
  constructor(plan: Plan) {
    this.#plan = plan;
    this.#bindings = new Bindings(plan.query);
    const { clauses } = plan.query;
    const isOpen = (number: number): boolean =>
      clauses[number]?.operands.some(isParameter) ?? false;
    this.#open = [...clauses.keys()].filter(isOpen);
    this.#mayContradict = this.#open.some((number) =>
      clauses.some((clause, other) => other !== number && clause.column === clauses[number]?.column)
    );
    this.#openDriver = [...plan.equalities, ...plan.bounds].some(isOpen);
    this.#kinds = clauses.map(({ column }) => columnOf(plan.query.table, column).kind);
    this.#bounds = plan.bounds.flatMap((number) => clauses[number] ?? []);
    const { values } = this.#bindings;
    this.#boundValues = plan.bounds.flatMap((number) => {
      const operands = values[number];
      return operands === undefined ? [] : [operands];
    });
    this.#template = new Int32Array(this.#makeTemplate().buffer);
  }

  /** Finds where the numbers of a run stand, if nothing else differs from run to run. */
  #makeFixed(): FixedPlan | null {
    const { query, bounds } = this.#plan;
    // Where nothing differs at all, the general way is as short.
    if (this.#open.length === 0) return null;
    if (this.#mayContradict || this.#plan.route === "PrimaryKeyLookup") return null;
    if (bounds.length > 1 || this.#template.byteLength > templateFixedMax) return null;
    const args = FixedPlan.sampleOf(query, this.#open);
    if (args === undefined) return null;
    const bytes = new Uint8Array(this.#template.byteLength + templateFixedMax);
    this.#places = this.#open.flatMap((clause) => operandPlaces(query.clauses[clause], clause));
    const size = this.#encode(bytes, args, 0, Infinity);
    const fixed = new FixedPlan(query, new Int32Array(bytes.buffer, 0, size / 4), this.#places);
    this.#places = undefined;
    return fixed;
  }

  /**
   * Writes the plan for one run.
   *
   * @param target The buffer to write into, from its start; 8-aligned for the engine.
   * @param args The value of each parameter.
   * @param flags {@linkcode PlanFlag} bits to add. Default: none.
   * @param limitMax Most rows to give, should the query allow more. Default: no such limit.
   * @returns The number of bytes written, a multiple of 8.
   * @throws {AerostoreError} With `unknown_parameter`, `type_mismatch`, `unsafe_integer` or
   * `invalid_query` if `args` do not suit the query, or the query does not fit into `target`.
   */
  encode(
    target: Uint8Array,
    args: readonly unknown[] = [],
    flags = 0,
    limitMax = Infinity,
  ): number {
    if (this.#fixed === undefined) {
      this.#runs += 1;
      if (this.#runs >= fixedRunsMin) this.#fixed = this.#makeFixed();
    }
    const cursor = this.#cursorOn(target);
    if (this.#fixed?.write(cursor, args) !== true) {
      return this.#encode(target, args, flags, limitMax);
    }
    this.#bindings.bindRange(args);
    this.#patchRun(cursor, flags, limitMax);
    return cursor.at;
  }

  #encode(target: Uint8Array, args: readonly unknown[], flags: number, limitMax: number): number {
    this.#bindings.bind(args);
    const cursor = this.#cursorOn(target);
    cursor.restart(this.#template);
    for (const number of this.#open) this.#writeOperands(cursor, number);
    if (this.#openDriver) this.#writeDriver(cursor);
    cursor.align(8);
    cursor.patchU32(0, cursor.at);
    this.#patchRun(cursor, flags, limitMax);
    return cursor.at;
  }

  #cursorOn(target: Uint8Array): Cursor {
    const known = this.#cursor;
    if (known?.isOn(target) === true) return known;
    if (lastCursor?.isOn(target) !== true) lastCursor = new Cursor(target);
    return this.#cursor = lastCursor;
  }

  #patchRun(cursor: Cursor, flags: number, limitMax: number): void {
    const { query, emptiness } = this.#plan;
    if (flags !== 0) cursor.patchByte(Header.flags, queryFlags(this.#plan) | flags);
    let { limit } = this.#bindings;
    if (limit < 0 || limit > limitMax) limit = limitMax;
    if (limit === 0) cursor.patchByte(Header.route, routeCodes.Empty);
    cursor.patchF64(Header.limit, limit === Infinity ? -1 : limit);
    cursor.patchF64(Header.offset, this.#bindings.offset);
    if (this.#mayContradict && emptiness === "") {
      const { values } = this.#bindings;
      if (findContradiction(query.table, query.clauses, values) >= 0) {
        cursor.patchByte(Header.route, routeCodes.Empty);
      }
    }
  }

  #makeTemplate(): Uint8Array {
    for (;;) {
      const cursor = new Cursor(scratch);
      try {
        this.#writeTemplate(cursor);
        return scratch.slice(0, cursor.at);
      } catch (error) {
        if (scratch.length >= templateSizeMax) throw error;
        scratch = new Uint8Array(scratch.length * 2);
      }
    }
  }

  #writeTemplate(cursor: Cursor): void {
    const { query, route, sort, index, descending, ordering } = this.#plan;
    const { clauses } = query;
    const sortsAt = headerSize + clauses.length * clauseSize;
    cursor.skip(4);
    cursor.u16(query.table.id);
    cursor.u16(routeCodes[route] | (queryFlags(this.#plan) << 8));
    cursor.u16(clauses.length);
    cursor.u16(sort.length);
    cursor.skip(20);
    const [low, high] = projection(query.fields);
    cursor.u32(low);
    cursor.u32(high);
    cursor.u32(headerSize);
    cursor.u32(sortsAt);
    cursor.skip(4);
    cursor.u32(index?.id ?? 0);
    const isOrdered = index !== null && ordering === "route";
    cursor.u32((descending ? ScanFlag.descending : 0) | (isOrdered ? ScanFlag.ordered : 0));
    cursor.skip(4);
    for (const clause of clauses) writeClause(cursor, clause);
    for (const number of this.#answered()) {
      const at = headerSize + number * clauseSize + ClauseField.flags;
      cursor.patchByte(at, clauseFlags(clauses[number]) | ClauseFlag.answered);
    }
    for (const key of sort) writeSort(cursor, key);
    cursor.align(8);
    for (const number of clauses.keys()) {
      if (!this.#open.includes(number)) this.#writeOperands(cursor, number);
    }
    if (!this.#openDriver) this.#writeDriver(cursor);
    cursor.align(8);
  }

  /** Numbers of the clauses that the keys or bounds of the index answer. */
  #answered(): number[] {
    const { query, route } = this.#plan;
    if (route !== "IndexExactMatch" && route !== "IndexRangeScan") return [];
    return driverClauses(this.#plan).filter((number) => {
      const clause = query.clauses[number];
      return clause !== undefined && isExact(clause, literalValues([clause])[0] ?? []);
    });
  }

  /** Writes the operands of a clause: numbers into its record, text and lists behind everything. */
  #writeOperands(cursor: Cursor, number: number): void {
    const clause = this.#plan.query.clauses[number];
    const values = this.#bindings.values[number];
    const kind = this.#kinds[number];
    if (clause === undefined || values === undefined || values.length === 0) return;
    if (kind === undefined) return;
    const at = headerSize + number * clauseSize;
    if (clause.operator === "in") {
      cursor.align(8);
      cursor.patchU32(at + ClauseField.count, values.length);
      cursor.patchU32(at + ClauseField.poolAt, cursor.at);
      const start = cursor.at;
      for (const value of values) writeListItem(cursor, kind, value);
      cursor.patchU32(at + ClauseField.poolSize, cursor.at - start);
      return;
    }
    const first = values[0];
    const second = values[1];
    if (first !== undefined) {
      writeOperand(cursor, kind, first, at + ClauseField.a, at + ClauseField.poolAt);
    }
    if (second !== undefined) {
      writeOperand(cursor, kind, second, at + ClauseField.b, at + ClauseField.secondAt);
    }
  }

  /** Writes the keys or bounds of the route. */
  #writeDriver(cursor: Cursor): void {
    cursor.align(8);
    switch (this.#plan.route) {
      case "PrimaryKeyLookup":
        this.#writePrimaryKeys(cursor);
        break;
      case "IndexExactMatch":
        this.#writeIndexKeys(cursor);
        break;
      case "IndexRangeScan":
        this.#writeBounds(cursor);
        break;
      default:
        break;
    }
  }

  #writePrimaryKeys(cursor: Cursor): void {
    const { query, equalities } = this.#plan;
    const column = columnOf(query.table, query.table.primaryKey);
    const keys = distinctFitting(column, this.#bindings.values[equalities[0] ?? -1] ?? []);
    if (keys.length > keyCountMax) {
      // Every row is tested against the in-list, which is a clause in any case.
      cursor.patchByte(Header.route, routeCodes.FullScan);
      return;
    }
    if (keys.length === 0) cursor.patchByte(Header.route, routeCodes.Empty);
    cursor.patchU32(Header.keyCount, keys.length);
    cursor.patchU32(Header.keysAt, cursor.at);
    for (const key of keys) writePrimaryKey(cursor, column.kind, key);
  }

  #writeIndexKeys(cursor: Cursor): void {
    const { query, equalities, index, ordering, descending } = this.#plan;
    const { values } = this.#bindings;
    const [number] = equalities;
    const several = number !== undefined && query.clauses[number]?.operator === "in";
    if (!several) {
      cursor.patchU32(Header.keyCount, 1);
      cursor.patchU32(Header.keysAt, cursor.at);
      this.#writeIndexKey(cursor, undefined, 0);
      return;
    }
    const column = columnOf(query.table, index?.columns[0] ?? 0);
    let keys = distinctFitting(column, values[number] ?? []);
    if (keys.length > keyCountMax) {
      const message = `An in-list has at most ${keyCountMax} values here, got ${keys.length}`;
      throw new QueryError("invalid_query", message, { offset: -1, word: column.name });
    }
    if (ordering === "route") {
      keys = keys.toSorted(descending ? (a, b) => -compareValues(a, b) : compareValues);
    }
    if (keys.length === 0) cursor.patchByte(Header.route, routeCodes.Empty);
    cursor.patchU32(Header.keyCount, keys.length);
    cursor.patchU32(Header.keysAt, cursor.at);
    for (const key of keys) {
      const sizeAt = cursor.skip(4);
      writeKeyPart(cursor, column.kind, key);
      endCell(cursor, sizeAt);
    }
  }

  #writeBounds(cursor: Cursor): void {
    const { equalities, descending, ordering } = this.#plan;
    const interval: Interval = mergeBounds(this.#bounds, this.#boundValues);
    let flags = (descending ? ScanFlag.descending : 0) |
      (ordering === "route" ? ScanFlag.ordered : 0);
    cursor.patchU32(Header.boundsAt, cursor.at);
    if (interval.low !== undefined || equalities.length > 0) {
      flags |= ScanFlag.low;
      if (interval.low === undefined || interval.lowInclusive) flags |= ScanFlag.lowInclusive;
      this.#writeIndexKey(cursor, interval.low, 0);
    }
    if (interval.high !== undefined || equalities.length > 0) {
      flags |= ScanFlag.high;
      if (interval.high === undefined || interval.highInclusive) flags |= ScanFlag.highInclusive;
      this.#writeIndexKey(cursor, interval.high, this.#bounds[0]?.operator === "range" ? 1 : 0);
    }
    cursor.patchU32(Header.scan, flags);
  }

  /**
   * Writes the cell of the key: what the equalities give, and `bound` for the next column, which is
   * operand `operand` of its clause.
   */
  #writeIndexKey(cursor: Cursor, bound: Value | undefined, operand: number): void {
    const { query, equalities, index } = this.#plan;
    const sizeAt = cursor.skip(4);
    for (const number of equalities) {
      const value = this.#bindings.values[number]?.[0];
      const kind = this.#kinds[number];
      this.#places?.push({ clause: number, operand: 0, at: cursor.at });
      if (kind !== undefined && value !== undefined) writeKeyPart(cursor, kind, value);
    }
    if (bound !== undefined) {
      this.#places?.push({ clause: this.#plan.bounds[0] ?? -1, operand, at: cursor.at });
      const column = index?.columns[equalities.length] ?? 0;
      writeKeyPart(cursor, columnOf(query.table, column).kind, bound);
    }
    endCell(cursor, sizeAt);
  }
}

/** Where the operands of a clause stand in its record. */
function operandPlaces(clause: Clause | undefined, number: number): NumberPlace[] {
  const at = headerSize + number * clauseSize;
  return (clause?.operands ?? []).map((_, operand) => ({
    clause: number,
    operand,
    at: at + (operand === 0 ? ClauseField.a : ClauseField.b),
  }));
}

function queryFlags(plan: Plan): number {
  const { countOnly, dialect } = plan.query;
  return (countOnly ? PlanFlag.countOnly : 0) |
    (dialect === "speedtables" ? speedtablesFlag : 0);
}

/** Returns the low and high halves of the column mask; all zero means every column. */
function projection(fields: readonly number[] | null): [number, number] {
  let low = 0;
  let high = 0;
  for (const field of fields ?? []) {
    if (field < 32) low |= 1 << field;
    else high |= 1 << (field - 32);
  }
  return [low, high];
}

function writeClause(cursor: Cursor, clause: Clause): void {
  cursor.u16(operatorCodes[clause.operator] | (clause.column << 8));
  cursor.u16(clauseFlags(clause));
  cursor.skip(clauseSize - 4);
}

function clauseFlags(clause: Clause | undefined): number {
  if (clause === undefined) return 0;
  const { nullSatisfies, operator, ignoreCase } = clause;
  return (nullSatisfies && operator !== "null" ? ClauseFlag.nullSatisfies : 0) |
    (ignoreCase ? ClauseFlag.ignoreCase : 0);
}

function writeSort(cursor: Cursor, key: SortKey): void {
  const flags = (key.descending ? 1 : 0) | (key.nullsFirst ? 2 : 0);
  cursor.u16(key.column | (flags << 8));
  cursor.skip(sortSize - 2);
}
