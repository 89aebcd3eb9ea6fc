/**
 * What a run of a query took, as the library measured it.
 *
 * @module
 */

import { Report, Step } from "../abi.ts";
import type { Memory } from "../memory.ts";

/** One test of the rows. */
export interface MeasuredStep {
  /** The number of the clause. */
  readonly clause: number;
  /** Rows that it was made on. */
  readonly tested: number;
  /** Rows that passed. */
  readonly passed: number;
  /** Milliseconds. */
  readonly timeMs: number;
}

/** A run of a query. */
export interface Measurement {
  /** Rows that the route gave. */
  readonly rowsVisited: number;
  /** Milliseconds that the route took. */
  readonly routeTimeMs: number;
  /** The tests, in order; a test that every row passes is not made. */
  readonly steps: readonly MeasuredStep[];
  /** Rows that were sorted; 0 if nothing was. */
  readonly rowsSorted: number;
  /** Rows that the sort kept. */
  readonly rowsKept: number;
  /** Milliseconds that the sort took. */
  readonly sortTimeMs: number;
  /** Rows of the result. */
  readonly rowsReturned: number;
  /** Buffers of rows that it takes to hand the result over. */
  readonly batches: number;
  /** Bytes of the result. */
  readonly outputBytes: number;
  /** Milliseconds that writing them took. */
  readonly outputTimeMs: number;
  /** Milliseconds of everything. */
  readonly totalTimeMs: number;
  /**
   * Whether every row was read although the plan names an index: the index does not know all rows
   * of the snapshot.
   */
  readonly fellBack: boolean;
}

const nsPerMs = 1e6;

/** Reads the measurement at the start of a buffer. */
export function readMeasurement({ f64 }: Memory): Measurement {
  const number = (offset: number): number => f64[offset / 8] ?? 0;
  const timeMs = (offset: number): number => number(offset) / nsPerMs;
  return {
    rowsVisited: number(Report.visited),
    routeTimeMs: timeMs(Report.route_ns),
    steps: Array.from({ length: number(Report.steps) }, (_, index) => {
      const at = Report.size + index * Step.size;
      return {
        clause: number(at + Step.clause),
        tested: number(at + Step.tested),
        passed: number(at + Step.passed),
        timeMs: timeMs(at + Step.ns),
      };
    }),
    rowsSorted: number(Report.sorted),
    rowsKept: number(Report.kept),
    sortTimeMs: timeMs(Report.sort_ns),
    rowsReturned: number(Report.returned),
    batches: number(Report.batches),
    outputBytes: number(Report.output_bytes),
    outputTimeMs: timeMs(Report.output_ns),
    totalTimeMs: timeMs(Report.total_ns),
    fellBack: number(Report.fell_back) === 1,
  };
}
