/**
 * A PostgreSQL server of its own, if the machine has one installed and lets it start.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";

/** Who runs the server: it refuses to be root. */
interface User {
  readonly uid?: number;
  readonly gid?: number;
}

/** Where distributions put the programs. */
const parent = "/usr/lib/postgresql";

function findPrograms(): string | undefined {
  const paths = (process.env["PATH"] ?? "").split(":");
  if (existsSync(parent)) {
    paths.push(...readdirSync(parent).map((version) => join(parent, version, "bin")));
  }
  return paths.find((path) =>
    ["initdb", "pg_ctl", "pgbench", "psql"].every((name) => existsSync(join(path, name)))
  );
}

/** The user to run it as; undefined if there is none. */
function findUser(): User | undefined {
  if (process.getuid?.() !== 0) return {};
  const id = (flag: string) =>
    Number(spawnSync("id", [flag, "postgres"], { encoding: "utf8" }).stdout);
  const [uid, gid] = [id("-u"), id("-g")];
  return uid > 0 && gid > 0 ? { uid, gid } : undefined;
}

/** A running server. */
export class PostgresServer {
  readonly #programs: string;
  readonly #user: User;
  readonly #directory: string;

  private constructor(programs: string, user: User, directory: string) {
    this.#programs = programs;
    this.#user = user;
    this.#directory = directory;
  }

  /**
   * Starts a server with its files in a directory.
   *
   * @param root The directory.
   * @returns The server, or why there is none.
   */
  static start(root: string): PostgresServer | string {
    const programs = findPrograms();
    if (programs === undefined) return "it is not installed";
    const user = findUser();
    if (user === undefined) return "there is no user to run it as";
    const directory = join(root, "postgres");
    mkdirSync(directory);
    chmodSync(root, 0o755);
    if (user.uid !== undefined) chownSync(directory, user.uid, user.gid ?? 0);
    const server = new PostgresServer(programs, user, directory);
    try {
      server.#run("initdb", "--auth=trust", "--no-sync", "-D", join(directory, "data"));
      const settings = `-k ${directory} -c listen_addresses= -c shared_buffers=256MB`;
      const log = join(directory, "log");
      server.#run(
        "pg_ctl",
        "-w",
        "-D",
        join(directory, "data"),
        "-l",
        log,
        "-o",
        settings,
        "start",
      );
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
    return server;
  }

  /** Makes the table, with `rows` rows. */
  load(rows: number): void {
    this.#sql(
      `create table position (id integer primary key, lat float8 not null, lon float8 not null,
         altitude integer not null, gs integer not null, updated_at float8 not null,
         typ text not null, destination text not null);
       insert into position
         select id, 47.5, 8.5, 31000, 450, 1533099600000, 'A320', 'KJFK'
         from generate_series(0, ${rows - 1}) id;
       vacuum analyze position;`,
    );
  }

  /**
   * Has connections change one column of a random row in each transaction.
   *
   * @returns Commits a second.
   */
  commit(promise: "on" | "off", connections: number, rows: number, seconds: number): number {
    const script = join(this.#directory, "commit.sql");
    writeFileSync(
      script,
      `\\set id random(0, ${rows - 1})\nupdate position set altitude = :id where id = :id;\n`,
    );
    chmodSync(script, 0o644);
    const size = ["-c", `${connections}`, "-j", `${Math.min(2, connections)}`, "-T", `${seconds}`];
    const output = this.#run(
      "env",
      `PGOPTIONS=-c synchronous_commit=${promise}`,
      join(this.#programs, "pgbench"),
      ...["-n", "-M", "prepared", "-h", this.#directory, ...size, "-f", script, "postgres"],
    );
    const found = /tps = ([0-9.]+)/.exec(output);
    if (found === null) throw new Error(`pgbench says: ${output}`);
    return Number(found[1]);
  }

  /** Ends the server. */
  stop(): void {
    this.#run("pg_ctl", "-w", "-m", "immediate", "-D", join(this.#directory, "data"), "stop");
  }

  #sql(text: string): void {
    const statements = text.split(";").filter((part) => part.trim() !== "");
    const commands = statements.flatMap((statement) => ["-c", statement]);
    this.#run("psql", "-q", "-h", this.#directory, ...commands, "postgres");
  }

  #run(program: string, ...args: string[]): string {
    const path = program === "env" ? program : join(this.#programs, program);
    const { status, stdout, stderr } = spawnSync(path, args, {
      ...this.#user,
      cwd: this.#directory,
      encoding: "utf8",
      // The server would keep a pipe open, and this process wait for its end.
      stdio: program === "pg_ctl" ? "ignore" : ["ignore", "pipe", "pipe"],
    });
    if (status !== 0) throw new Error(`${program} failed: ${stderr ?? ""}`.trim());
    return stdout ?? "";
  }
}
