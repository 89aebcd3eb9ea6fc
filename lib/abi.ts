/**
 * The border as the native library publishes it: signatures, codes, offsets and limits.
 *
 * Generated from the Zig sources by `npm run abi`; changes made here are lost.
 *
 * @module
 */

/** Stands for everything below; a library that returns another number is refused. */
export const abiHash = 3893073105763227;

/** What each number that the library returns (negated) means. Append-only. */
export const Status = {
  ok: 0,
  bad_argument: 1,
  not_aerostore: 2,
  layout_version: 3,
  corrupt: 4,
  region_lost: 5,
  region_full: 6,
  permission_denied: 7,
  io_error: 8,
  busy: 9,
  too_many_transactions: 10,
  too_many_processes: 11,
  schema_mismatch: 12,
  unknown_table: 13,
  unknown_column: 14,
  duplicate_key: 15,
  not_found: 16,
  value_too_long: 17,
  type_mismatch: 18,
  not_null_violation: 19,
  unique_violation: 20,
  serialization_failure: 21,
  closed: 22,
  view_expired: 23,
  unsafe_integer: 24,
  not_a_number: 25,
  unsupported_platform: 26,
  invalid_list: 27,
  unknown_option: 28,
  unsupported_operator: 29,
  wrong_arity: 30,
  unknown_parameter: 31,
  invalid_query: 32,
  invalid_schema: 33,
  bad_line: 34,
  transaction_closed: 35,
  read_only: 36,
  abi_mismatch: 37,
  library_not_found: 38,
  snapshot_revoked: 39,
  disk_full: 40,
  not_supported: 41,
  already_open: 42,
  internal: 43,
  log_failed: 44,
  durability_unknown: 45,
} as const;

/** One line for each status that completes "Cannot do this: ...". */
export const statusText = {
  ok: "it worked",
  bad_argument: "an argument is out of its range",
  not_aerostore: "the file is not an Aerostore file",
  layout_version: "the region was made by another version of Aerostore",
  corrupt: "stored bytes contradict each other",
  region_lost: "the region was removed or replaced while processes use it",
  region_full: "the region has no room left",
  permission_denied: "the operating system denies access, or the file is not private",
  io_error: "the operating system reports an error",
  busy: "somebody else holds it for too long",
  too_many_transactions: "all transaction slots are taken",
  too_many_processes: "all process entries are taken",
  schema_mismatch: "the declared table differs from the stored one",
  unknown_table: "there is no such table",
  unknown_column: "there is no such column",
  duplicate_key: "a row with this primary key exists",
  not_found: "there is no row with this primary key",
  value_too_long: "the value is longer than its column",
  type_mismatch: "the value does not fit the type of its column",
  not_null_violation: "the column does not take null",
  unique_violation: "another row has this value in a unique index",
  serialization_failure: "another transaction changed what this one has read",
  closed: "the database is closed",
  view_expired: "the row view outlived its transaction",
  unsafe_integer: "the integer does not fit a JavaScript number exactly",
  not_a_number: "NaN cannot be stored",
  unsupported_platform: "Aerostore does not run on this platform",
  invalid_list: "the list is malformed",
  unknown_option: "there is no such option",
  unsupported_operator: "there is no such operator",
  wrong_arity: "the operator has another number of operands",
  unknown_parameter: "the parameter has no value",
  invalid_query: "the query contradicts itself",
  invalid_schema: "the table cannot be declared like this",
  bad_line: "a line of the input cannot be a row",
  transaction_closed: "the transaction has ended",
  read_only: "it was opened for reading only",
  abi_mismatch: "the native library belongs to another version of the module",
  library_not_found: "the native library cannot be loaded",
  snapshot_revoked: "the snapshot was given up to free memory",
  disk_full: "the disk is full",
  not_supported: "this version cannot do it",
  already_open: "it is open already with other options",
  internal: "Aerostore has a bug or is out of memory",
  log_failed: "the log cannot be written",
  durability_unknown: "the commit is visible, but perhaps not on disk",
} as const;

/** Arguments and result of every exported function. */
export const signatures = {
  aero_abi_hash: [[], "f64"],
  aero_library_version: [["buffer", "u32"], "i32"],
  aero_open: [["buffer", "u32"], "i32"],
  aero_open_begin: [["buffer", "u32"], "i32"],
  aero_open_wait: [["u32", "buffer"], "i32"],
  aero_remove: [["buffer", "u32"], "i32"],
  aero_open_error: [["buffer", "u32"], "i32"],
  aero_close: [["u32"], "i32"],
  aero_close_report: [["buffer", "u32"], "i32"],
  aero_connection_control: [["u32"], "f64"],
  aero_table_declare: [["u32", "u32"], "i32"],
  aero_catalogue_read: [["u32"], "i32"],
  aero_index_drop: [["u32", "u32", "u32"], "i32"],
  aero_row_get: [["u32", "u32", "u32"], "i32"],
  aero_rows_get: [["u32", "u32", "u32", "u32", "u32"], "i32"],
  aero_row_has: [["u32", "u32", "u32"], "i32"],
  aero_row_insert: [["u32", "u32", "u32", "u32"], "i32"],
  aero_row_upsert: [["u32", "u32", "u32", "u32"], "i32"],
  aero_row_update: [["u32", "u32", "u32", "u32"], "i32"],
  aero_row_delete: [["u32", "u32", "u32"], "i32"],
  aero_row_apply: [["u32", "u32", "u32", "u32"], "i32"],
  aero_rows_upsert: [["u32", "u32", "u32", "u32", "u32", "u32"], "i32"],
  aero_row_count: [["u32", "u32"], "f64"],
  aero_index_count: [["u32", "u32", "u32"], "f64"],
  aero_row_view: [["u32", "u32", "u32"], "f64"],
  aero_transaction_begin: [["u32", "u32"], "i32"],
  aero_transaction_commit: [["u32", "u32", "u32"], "i32"],
  aero_transaction_abort: [["u32", "u32"], "i32"],
  aero_transaction_savepoint: [["u32", "u32"], "i32"],
  aero_transaction_rollback_to: [["u32", "u32", "u32"], "i32"],
  aero_transaction_lock: [["u32", "u32", "u32"], "i32"],
  aero_query_open: [["u32", "u32", "u32"], "i32"],
  aero_query_next: [["u32", "u32"], "i32"],
  aero_query_close: [["u32", "u32"], "i32"],
  aero_query_aggregate: [["u32", "u32", "u32"], "i32"],
  aero_query_update: [["u32", "u32", "u32"], "i32"],
  aero_query_delete: [["u32", "u32", "u32"], "i32"],
  aero_query_measure: [["u32", "u32", "u32"], "i32"],
  aero_ingest_begin: [["u32", "u32", "u32"], "i32"],
  aero_ingest_feed: [["u32", "u32", "u32", "u32"], "i32"],
  aero_ingest_end: [["u32", "u32"], "i32"],
  aero_position: [["u32"], "f64"],
  aero_durable_poll: [["u32", "f64"], "i32"],
  aero_durable_request: [["u32", "f64"], "i32"],
  aero_durable_wait: [["u32", "f64", "u32"], "i32"],
  aero_durable_arm: [["u32", "u32", "f64"], "i32"],
  aero_task_perform: [["u32", "u32", "u32"], "i32"],
  aero_task_start: [["u32", "u32", "u32", "u32"], "i32"],
  aero_task_poll: [["u32", "u32"], "i32"],
  aero_waker_open: [[], "i32"],
  aero_waker_descriptor: [["u32"], "i32"],
  aero_waker_close: [["u32"], "i32"],
  aero_config_set: [["u32", "u32", "u32"], "i32"],
  aero_config_get: [["u32", "u32"], "f64"],
  aero_stats: [["u32"], "i32"],
  aero_verify: [["u32"], "i32"],
} as const;

/** Bytes from the start of a connection's control block to each field, and its size. */
export const Control = {
  size: 4096,
  input_address: 0,
  output_address: 8,
  region_address: 16,
  region_size: 24,
  catalogue_version_address: 32,
  position: 40,
  total: 48,
  input_size: 56,
  output_size: 60,
  result_rows: 64,
  result_bytes: 68,
  error_status: 72,
  error_number: 76,
  error_detail_length: 80,
  failed_index: 84,
  catalogue_version: 88,
  result_has_handles: 92,
  error_detail: 96,
} as const;

/** The number of each column type in schema blobs. */
export const Kind = {
  text: 1,
  bytes: 2,
  int32: 3,
  int64: 4,
  float64: 5,
  bool: 6,
  timestamp: 7,
} as const;

/** What the flag byte of a column in a schema blob can say. */
export const ColumnFlag = {
  nullable: 1,
  primary: 2,
  index: 4,
  unique: 8,
  has_default: 16,
  bigint: 32,
} as const;

/** The limits of schemas, rows and buffers. */
export const Limit = {
  columns_max: 64,
  tables_max: 64,
  name_size_max: 64,
  key_size_max: 64,
  inline_size_max: 30,
  payload_size_max: 60000,
  schema_size_max: 60000,
  composite_indexes_max: 16,
  index_columns_max: 8,
  clauses_max: 1024,
  keys_max: 65536,
  region_size_min: 2097152,
  region_size_max: 274877906944,
  buffer_size: 1048576,
  transactions_max: 256,
  processes_max: 128,
  window_size: 1073741824,
} as const;

/** Bytes from the start of a row record to each field, and the size of its header. */
export const Record = {
  size: 24,
  record_bytes: 0,
  flags: 4,
  null_mask: 8,
  column_mask: 16,
} as const;

/**
 * Bytes from the start of a row version in the region to each field, and the size of its header.
 * The payload follows.
 */
export const Version = {
  size: 48,
  xmin: 0,
  xmax: 8,
  prev: 16,
  txn_next: 20,
  row: 24,
  table: 28,
  flags: 29,
  payload_words: 30,
  null_mask: 32,
  dirty: 40,
} as const;

/** Flags of `aero_open`. */
export const OpenFlag = {
  read_only: 1,
  ephemeral: 2,
  must_exist: 4,
  salvage_prefix: 8,
  salvage_files: 16,
  warm_clean_only: 32,
  warm_never: 64,
} as const;

/** Flags of `aero_rows_upsert`. */
export const RowsFlag = {
  row_by_row: 1,
  insert: 2,
} as const;

/** Flags of `aero_transaction_begin`. */
export const TransactionFlag = {
  read_only: 1,
  relaxed: 2,
  exclusive: 4,
  queue: 8,
  durable: 16,
  visible: 32,
  read_durable: 64,
  wait_later: 128,
} as const;

/** The number of each setting of a region. */
export const Setting = {
  max_snapshot_age_ms: 1,
  kill_stalled_after_ms: 2,
  synchronous_commit: 3,
  checkpoint_interval_secs: 4,
} as const;

/** The number of each state of the log. */
export const LogState = {
  none: 0,
  working: 1,
  no_space: 2,
  failed: 3,
} as const;

/** The number of each kind of task. */
export const TaskKind = {
  checkpoint: 1,
  backup: 2,
} as const;

/** The number of each phase of a recovery. */
export const RecoveryPhase = {
  examine: 0,
  load: 1,
  replay: 2,
  index: 3,
} as const;

/** The number of each route in a plan. */
export const Route = {
  empty: 0,
  primary_key_lookup: 1,
  index_exact_match: 2,
  index_range_scan: 3,
  full_scan: 4,
} as const;

/** Flags of a plan. */
export const PlanFlag = {
  count_only: 1,
  speedtables: 2,
  handles: 4,
  yields: 8,
} as const;

/** Flags of an index route in a plan. */
export const ScanFlag = {
  descending: 1,
  low_present: 2,
  low_inclusive: 4,
  high_present: 8,
  high_inclusive: 16,
  ordered: 32,
} as const;

/** Bytes from the start of a plan to each field, and the size of its header. */
export const PlanHeader = {
  size: 64,
  total_bytes: 0,
  table: 4,
  route: 6,
  flags: 7,
  clause_count: 8,
  sort_count: 10,
  key_count: 12,
  limit: 16,
  offset: 24,
  projection: 32,
  clauses_at: 40,
  sorts_at: 44,
  keys_at: 48,
  index_id: 52,
  scan: 56,
  bounds_at: 60,
} as const;

/** Bytes from the start of a clause to each field, and its size. */
export const Clause = {
  size: 40,
  op: 0,
  column: 1,
  flags: 2,
  count: 4,
  pool_at: 8,
  pool_len: 12,
  a: 16,
  b: 24,
  pool2_at: 32,
  pool2_len: 36,
} as const;

/** The number of each operator of a clause. */
export const ClauseOp = {
  is_null: 1,
  is_not_null: 2,
  eq: 3,
  ne: 4,
  gt: 5,
  ge: 6,
  lt: 7,
  le: 8,
  in: 9,
  range: 10,
  match: 11,
  not_match: 12,
  is_true: 13,
  is_false: 14,
  never: 15,
} as const;

/** Flags of a clause. */
export const ClauseFlag = {
  null_satisfies: 1,
  ignore_case: 2,
  answered: 4,
} as const;

/** Flags of a sort field. */
export const SortFlag = {
  descending: 1,
  nulls_first: 2,
  true_first: 4,
} as const;

/** The number of each aggregate. */
export const AggregateFunction = {
  count: 1,
  count_values: 2,
  minimum: 3,
  maximum: 4,
  sum: 5,
  average: 6,
} as const;

/** Bytes from the start of an aggregate's answer to each field, and its size. */
export const Answer = {
  size: 24,
  state: 0,
  length: 4,
  low: 8,
  high: 16,
} as const;

/** What an answer holds. */
export const AnswerState = {
  none: 0,
  integer: 1,
  float: 2,
  text: 3,
} as const;

/** Bytes from the start of a measurement to each field, and its size. Steps follow. */
export const Report = {
  size: 96,
  visited: 0,
  route_ns: 8,
  sorted: 16,
  kept: 24,
  sort_ns: 32,
  returned: 40,
  batches: 48,
  output_bytes: 56,
  output_ns: 64,
  total_ns: 72,
  fell_back: 80,
  steps: 88,
} as const;

/** Bytes from the start of a measured test to each field, and its size. */
export const Step = {
  size: 32,
  clause: 0,
  tested: 8,
  passed: 16,
  ns: 24,
} as const;

/** What every region begins with. */
export const Region = {
  magic: 2930814983,
  layout_version: 1,
} as const;
