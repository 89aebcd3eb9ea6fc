/**
 * The shapes of what a database tells about itself.
 *
 * @module
 */

/** One table in {@linkcode Stats}. */
export interface TableStats {
  /** The name. */
  readonly name: string;
  /** Rows that are there now. */
  readonly rows: number;
}

/** What {@linkcode Aerostore.stats} tells. All sizes are bytes. */
export interface Stats {
  /** The tables. */
  readonly tables: readonly TableStats[];
  /** Further facts, which may differ between versions. */
  readonly [name: string]: unknown;
}

/** What {@linkcode Aerostore.verify} finds. */
export interface Verification {
  /** Whether nothing is wrong. */
  readonly ok: boolean;
  /** Blocks of memory that nothing refers to. */
  readonly leaks: number;
  /** What is wrong, one sentence each. */
  readonly problems: readonly string[];
  /** Further facts, which may differ between versions. */
  readonly [name: string]: unknown;
}
