/**
 * A database in shared memory: every Bun and Deno process of a machine that opens the same
 * directory works on the same rows.
 *
 * @example Two processes that run this see each other's rows
 * ```ts
 * import assert from "node:assert/strict";
 * import { Aerostore, defineTable, type RowOf, t } from "aerostore";
 *
 * const FlightState = defineTable("FlightState", {
 *   flight_id: t.text(16).primaryKey(),
 *   altitude: t.int32().nullable(),
 *   typ: t.text(8).nullable(),
 * });
 * type Flight = RowOf<typeof FlightState>;
 *
 * const ephemeral = `flights-${crypto.randomUUID()}`;
 * const db = Aerostore.open({
 *   ephemeral,
 *   tables: [FlightState],
 *   size: "8MiB",
 * });
 * const flights = db.table(FlightState);
 * flights.upsert({ flight_id: "UAL123", altitude: 31000, typ: "B738" });
 * flights.upsert({ flight_id: "SWR12", altitude: 9000 });
 *
 * const high: Flight[] = flights.search("-compare {{> altitude 10000}}").all();
 * assert.deepEqual(high, [{ flight_id: "UAL123", altitude: 31000, typ: "B738" }]);
 * db.close();
 * Aerostore.remove({ ephemeral });
 * ```
 *
 * @module
 */

export { Aerostore } from "./lib/database.ts";
export type { EphemeralOptions, OpenOptions, RemoveOptions } from "./lib/open_options.ts";
export { AerostoreError, type ErrorCode } from "./lib/errors.ts";
export { QueryError } from "./lib/stapi/query_error.ts";
export {
  Column,
  type ColumnMakers,
  type Columns,
  type ColumnsOf,
  type ColumnSpec,
  defineTable,
  type IndexOption,
  type IndexSpec,
  type InsertOf,
  type InsertOfColumns,
  type KeyName,
  type KeyOf,
  type KeyOfColumns,
  type OptionalName,
  type PatchOf,
  type PatchOfColumns,
  type RowOf,
  type RowOfColumns,
  type Simplify,
  t,
  TableDefinition,
  type TableOptions,
  type ValueOf,
} from "./lib/schema.ts";
export type { ColumnKind, ColumnValue } from "./lib/values.ts";
export {
  type Change,
  type Changes,
  type NumericName,
  type PatchedRow,
  type RowsPatch,
  type SearchOptions,
  Table,
  type UpsertManyOptions,
} from "./lib/table.ts";
export type { Configuration, ConfigurationName, ConfigurationValue } from "./lib/config.ts";
export { Transaction, TransactionTable } from "./lib/transaction.ts";
export type { RetryOptions, TransactionOptions } from "./lib/transaction_options.ts";
export type { RowView } from "./lib/row_view.ts";
export { Result } from "./lib/result.ts";
export type {
  Aggregate,
  AggregateResult,
  AggregateResults,
  Aggregates,
} from "./lib/query/aggregate.ts";
export { type ExplainOptions, PreparedQuery, QueryBuilder } from "./lib/query/builder.ts";
export type {
  Actual,
  Estimate,
  ExplainedBounds,
  ExplainedFilter,
  Explanation,
} from "./lib/query/explain.ts";
export type { Ordering, Route } from "./lib/query/plan.ts";
export type {
  BoolOperator,
  CompareClause,
  CompareOperator,
  Field,
  FieldOf,
  GlobOperator,
  NullOperator,
  OperandOf,
  SearchQuery,
  SortField,
} from "./lib/stapi/object_form.ts";
export type { Dialect, Value } from "./lib/stapi/ast.ts";
export type { IngestOptions, IngestProgress, IngestSource } from "./lib/ingest.ts";
export type {
  CloseReport,
  RecoveryProgress,
  SnapshotOptions,
  SnapshotProgress,
  SnapshotReport,
} from "./lib/maintenance.ts";
export type {
  LogStats,
  MemoryStats,
  RecoveryStats,
  Stats,
  TableStats,
  Verification,
} from "./lib/stats.ts";
