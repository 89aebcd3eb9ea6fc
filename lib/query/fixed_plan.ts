/**
 * Plans whose runs differ only in numbers, each at the same places: most short queries. Their bytes
 * are copied, and the numbers written over them.
 *
 * The general way (`encode.ts`) would write the same bytes. Who takes a value that is no plain
 * number of its column's type, such as a bigint or text, goes that way.
 *
 * @module
 */

import { isParameter, type Query } from "../stapi/ast.ts";
import type { Cursor } from "./cursor.ts";
import { type ColumnKind, columnOf } from "./table_meta.ts";

/** Where an operand of a clause stands in a plan: 8 bytes. */
export interface NumberPlace {
  /** The number of the clause. */
  readonly clause: number;
  /** The number of the operand. */
  readonly operand: number;
  /** Offset of its bytes. */
  readonly at: number;
}

/** A place of a parameter's number. */
interface ParameterPlace {
  /** The number of the parameter, from 0. */
  readonly index: number;
  readonly isInteger: boolean;
  readonly at: number;
}

/** The bytes of a plan, and where the numbers of a run belong. */
export class FixedPlan {
  readonly #words: Int32Array;
  readonly #places: readonly ParameterPlace[];

  /**
   * Takes a plan that was encoded with any numbers.
   *
   * @param query The query of the plan.
   * @param words The plan.
   * @param places Every place of every operand that may be a parameter.
   */
  constructor(query: Query, words: Int32Array, places: readonly NumberPlace[]) {
    this.#words = words;
    this.#places = places.flatMap(({ clause, operand, at }) => {
      const { column, operands } = query.clauses[clause] ?? { column: 0, operands: [] };
      const value = operands[operand];
      if (value === undefined || !isParameter(value)) return [];
      const { kind } = columnOf(query.table, column);
      return { index: value.parameter - 1, isInteger: kind === "int32", at };
    });
  }

  /**
   * Returns values with which the plan of a query can be encoded, if it is one of this kind.
   *
   * @param query The query.
   * @param open Numbers of its clauses that have parameters.
   */
  static sampleOf(query: Query, open: readonly number[]): readonly unknown[] | undefined {
    for (const number of open) {
      const clause = query.clauses[number];
      if (clause === undefined || clause.operator === "in") return undefined;
      if (!fixedKinds.has(columnOf(query.table, clause.column).kind)) return undefined;
    }
    return Array.from({ length: query.parameterCount }, () => 1);
  }

  /**
   * Writes the plan of a run from the start of a buffer.
   *
   * @param cursor Where to write; afterwards it stands behind the plan.
   * @param args The values of the run.
   * @returns Whether it is written. If not, some value must go the general way.
   */
  write(cursor: Cursor, args: readonly unknown[]): boolean {
    cursor.restart(this.#words);
    for (const { index, isInteger, at } of this.#places) {
      const value = args[index];
      if (typeof value !== "number") return false;
      if (isInteger) {
        if (value !== (value | 0)) return false;
        cursor.patchI32AsI64(at, value);
      } else {
        // Neither infinite nor NaN, and not -0.
        if (value - value !== 0) return false;
        cursor.patchF64(at, value + 0);
      }
    }
    return true;
  }
}

const fixedKinds: ReadonlySet<ColumnKind> = new Set<ColumnKind>(["int32", "float64", "timestamp"]);
