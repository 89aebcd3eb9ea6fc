/**
 * Checkpoints and backups, and what opening tells about a recovery.
 *
 * @module
 */

import process from "node:process";
import { LogState, RecoveryPhase, TaskKind } from "./abi.ts";
import { quote } from "./errors.ts";
import type { CloseFacts, Connection } from "./native.ts";

/** What a checkpoint or a backup has written. */
export interface SnapshotReport {
  /** Everything committed up to this position is in it. */
  readonly position: number;
  /** Rows in it. */
  readonly rows: number;
  /** Bytes of its file. */
  readonly bytes: number;
}

/** How far a checkpoint or a backup is. */
export interface SnapshotProgress {
  /** Rows written so far. */
  readonly rows: number;
  /** About how many it will be. */
  readonly rowsExpected: number;
}

/** The options of a checkpoint or a backup that does not block. */
export interface SnapshotOptions {
  /** Called about 20 times a second. Default: nothing is told. */
  readonly onProgress?: (progress: SnapshotProgress) => void;
}

/** What `Aerostore.close` leaves behind. */
export interface CloseReport {
  /**
   * Commits that are visible and not on disk. While other processes have the database
   * open, they bring them there in a moment. The last one does so before it closes, so then it is 0
   * unless the log has failed; what is left stays in memory until the next opener, or a reboot.
   */
  readonly pending: number;
  /** The state of the log; see {@linkcode LogStats}. An ephemeral database has none. */
  readonly log: "none" | "working" | "no_space" | "failed";
}

const logStateNumbers: Record<CloseReport["log"], number> = LogState;
const logStates = Object.entries(logStateNumbers) as [CloseReport["log"], number][];

/**
 * Makes the report of closing, and warns the process if commits are in memory only and nobody is
 * about to write them.
 *
 * @param path What was closed.
 * @param facts What the library told; undefined if it could not be asked.
 */
export function closeReportOf(path: string, facts: CloseFacts | undefined): CloseReport {
  if (facts === undefined) return { pending: 0, log: "none" };
  const { pending, state, last } = facts;
  const log = logStates.find(([, number]) => number === state)?.[0] ?? "failed";
  if (last && pending > 0 && log !== "working") {
    process.emitWarning(
      `Aerostore closed ${quote(path)} while its log is ${log}: ${pending} commits are in shared ` +
        "memory and not on disk. Keep the machine up, make room on the disk, and open it again",
      "AerostoreWarning",
    );
  }
  return { pending, log };
}

/** How far a recovery is. */
export interface RecoveryProgress {
  /**
   * `"examine"`: files are read and checked. `"load"`: rows come out of the last checkpoint.
   * `"replay"`: rows come out of the log. `"index"`: indexes are built.
   */
  readonly phase: "examine" | "load" | "replay" | "index";
  /** Rows, or in the first and the last phase files or indexes, that are done. */
  readonly done: number;
  /** Of how many, as far as it is known. */
  readonly total: number;
}

const phaseNumbers: Record<RecoveryProgress["phase"], number> = RecoveryPhase;
const phases = Object.entries(phaseNumbers) as [RecoveryProgress["phase"], number][];

/** The phase of a number that the library tells; undefined while nothing is recovered. */
export function phaseOf(number: number): RecoveryProgress["phase"] | undefined {
  return phases.find(([, value]) => value === number)?.[0];
}

/** What is done. */
type Kind = keyof typeof TaskKind;

/** Writes a checkpoint or a backup, and blocks until it is done. */
export function perform(connection: Connection, kind: Kind, path = ""): SnapshotReport {
  connection.check();
  const attempt = attemptOf(connection, kind, path);
  const size = connection.putInput(new TextEncoder().encode(path), attempt);
  const result = connection.taskPerform(TaskKind[kind], size);
  return parse(connection, result, attempt) as SnapshotReport;
}

/** As `perform`, in a thread of its own. */
export function performAsync(
  connection: Connection,
  kind: Kind,
  { onProgress }: SnapshotOptions,
  path = "",
): Promise<SnapshotReport> {
  return new Promise((resolve, reject) => {
    connection.check();
    const attempt = attemptOf(connection, kind, path);
    const size = connection.putInput(new TextEncoder().encode(path), attempt);
    const task = connection.taskStart(TaskKind[kind], size);
    if (task < 0) throw connection.error(task, attempt);
    // After an error of `onProgress` the task still has to be taken to its end.
    let failure: { readonly error: unknown } | undefined;
    connection.onWakeup(() => {
      let told: SnapshotReport | SnapshotProgress;
      try {
        connection.check();
        told = parse(connection, connection.taskPoll(task), attempt);
      } catch (error) {
        reject(failure === undefined ? error : failure.error);
        return false;
      }
      if ("position" in told) {
        if (failure === undefined) resolve(told);
        else reject(failure.error);
        return false;
      }
      try {
        if (failure === undefined) onProgress?.(told);
      } catch (error) {
        failure = { error };
      }
      return true;
    });
  });
}

function attemptOf(connection: Connection, kind: Kind, path: string): string {
  if (kind === "checkpoint") return `write a checkpoint of ${quote(connection.path)}`;
  return `write a backup of ${quote(connection.path)} to ${quote(path)}`;
}

function parse(
  connection: Connection,
  size: number,
  attempt: string,
): SnapshotReport | SnapshotProgress {
  if (size < 0) throw connection.error(size, attempt);
  return JSON.parse(connection.output.text(0, size)) as SnapshotReport | SnapshotProgress;
}
