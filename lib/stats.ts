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

/**
 * What `Aerostore.stats` tells of a region, about all processes that have it open. Counts begin with
 * the region.
 *
 * Beside these there are facts for people who debug, which may differ between versions.
 */
export interface Stats {
  /** The tables. */
  readonly tables: readonly TableStats[];
  /** The position of the last commit; it grows with each transaction that writes. */
  readonly position: number;
  /** Bytes that the region has. */
  readonly regionSize: number;
  /** Most bytes that it may have. */
  readonly regionSizeMax: number;
  /** The file of the region. */
  readonly regionPath: string;
  /** Processes that have it open. */
  readonly processes: number;
  /** Transactions that were committed. */
  readonly commits: number;
  /** Transactions that were aborted, by themselves or by a conflict. */
  readonly aborts: number;
  /** Further facts. */
  readonly [name: string]: unknown;
}

/**
 * What `Aerostore.verify` finds in a region.
 *
 * Beside these there are facts for people who debug, which may differ between versions.
 */
export interface Verification {
  /** Whether nothing is wrong. */
  readonly ok: boolean;
  /**
   * Whether nobody wrote meanwhile. While others write, what is on its way is not counted as a leak.
   */
  readonly quiescent: boolean;
  /** Blocks of memory that nothing refers to. */
  readonly leaks: number;
  /** Facts that exclude each other. */
  readonly contradictions: number;
  /** What is wrong, in words. */
  readonly problems: readonly string[];
  /** Further facts. */
  readonly [name: string]: unknown;
}
