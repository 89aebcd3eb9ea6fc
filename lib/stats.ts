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

/** Bytes of a region by what they hold. */
export interface MemoryStats {
  /** Versions of rows, the present and the superseded ones. */
  readonly versions: number;
  /** Keys and anchors of rows. */
  readonly rows: number;
  /** Entries of indexes. */
  readonly indexes: number;
  /** Logs by which killed processes are cleaned up after. */
  readonly logs: number;
  /** Everything else, such as descriptions of tables. */
  readonly other: number;
}

/** What the log on disk has and has cost; see `Aerostore.stats`. Counts begin with the region. */
export interface LogStats {
  /**
   * `"none"`: an ephemeral database. `"working"`. `"no_space"`: the disk is full; commits are
   * refused with `disk_full` until there is room again. `"failed"`: the disk refused a write or a
   * sync; commits are refused with `log_failed`.
   */
  readonly state: "none" | "working" | "no_space" | "failed";
  /** The last commit position that was handed out. */
  readonly position: number;
  /** The last one that has a record in the log. */
  readonly logged: number;
  /** Everything up to it is in the log, though perhaps not yet on disk. */
  readonly drained: number;
  /** Everything up to it is on disk. */
  readonly durable: number;
  /** The number of the file that is written now: `aerostore-<segment>.wal`. */
  readonly segment: number;
  /** Bytes that were written. */
  readonly bytes: number;
  /** Rows that were written whole. */
  readonly wholeRows: number;
  /** Bytes of those. */
  readonly wholeRowBytes: number;
  /** Rows of which only the columns were written that had changed. */
  readonly deltaRows: number;
  /** Bytes of those. */
  readonly deltaRowBytes: number;
  /** Writes of the file, each with the commits that were waiting. */
  readonly batches: number;
  /** Times that the disk was asked to keep what it has. */
  readonly syncs: number;
  /** Commits for each of these. */
  readonly commitsPerSync: number;
  /** How often another process went on with the log. */
  readonly leaderChanges: number;
  /** Checkpoints that were made. */
  readonly checkpoints: number;
  /** Where the last one began; 0 if there is none. */
  readonly checkpointPosition: number;
  /** Rows that the running checkpoint has written; 0 if none runs. */
  readonly checkpointRows: number;
  /** About how many it will be. */
  readonly checkpointRowsExpected: number;
  /**
   * Files in the directory that the last checkpoint had no use for and could not look at or remove.
   * They only take room; the next one tries again.
   */
  readonly checkpointFilesLeft: number;
  /** Further facts. */
  readonly [name: string]: unknown;
}

/** What opening had to do in this process to make the region of files; see `Aerostore.stats`. */
export interface RecoveryStats {
  /** Rows that came out of the checkpoint. */
  readonly rowsLoaded: number;
  /** Rows that came out of the log. */
  readonly rowsReplayed: number;
  /** Where the checkpoint began; 0 if there was none. */
  readonly checkpointPosition: number;
  /** The last position that came back. */
  readonly lastPosition: number;
  /** Where the log was cut, because it ended in the middle of a record; 0 if it ended in order. */
  readonly cutAt: number;
  /** How long it took. */
  readonly milliseconds: number;
  /** Whether a damaged log was cut because `salvage` said so. */
  readonly salvaged: boolean;
  /** What somebody should know, such as what was cut; empty if there is nothing. */
  readonly warning: string;
}

/**
 * What `Aerostore.stats` tells of a region, about all processes that have it open. Counts begin
 * with the region.
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
  /** Transaction slots in use. */
  readonly slots: number;
  /** How many there are. */
  readonly slotsMax: number;
  /** Positions since the oldest snapshot: what they superseded cannot be reused yet. */
  readonly horizonLag: number;
  /** Log entries that wait for the horizon. */
  readonly logEntries: number;
  /** What the region's memory holds. */
  readonly memory: MemoryStats;
  /**
   * How far the region is from full. 0: less than 70 % is in use. 1: more; commits spend more time
   * on freeing. 2 and 3 only while snapshots or slow processes hold much of it back. 2: more than
   * 85 %; snapshots that rest are revoked, the oldest first. 3: more than 92 %; statements that
   * write wait some milliseconds now and then.
   */
  readonly memoryPressure: number;
  /** The log on disk. */
  readonly log: LogStats;
  /** What this process has recovered from files; null if the region was there. */
  readonly recovery: RecoveryStats | null;
  /** Transactions that wrote. */
  readonly commits: number;
  /** Transactions undone after they had begun to write, for whatever reason. */
  readonly aborts: number;
  /** Those that validation refused. */
  readonly conflicts: number;
  /** Those that others lost patience with before they had a position. */
  readonly kicks: number;
  /** Those that others lost patience with after that. */
  readonly skips: number;
  /** Attempts that began again by themselves. */
  readonly retries: number;
  /** Looks of writers at a row whose last writer was undecided. */
  readonly waits: number;
  /** Dead processes whose work was finished or undone by others. */
  readonly recoveredProcesses: number;
  /** Snapshots that were given up, for their age or to free memory. */
  readonly revokedSnapshots: number;
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
   * Whether nobody wrote meanwhile. While others write, what is on its way is not counted as a
   * leak.
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
