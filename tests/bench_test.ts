import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readdirSync } from "node:fs";
import process from "node:process";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { readFlights } from "../bench/demo/flights.ts";
import { angleBetween, greatCircle, positionAt } from "../bench/demo/great_circle.ts";
import { Fleet, replayEnd, replayStart, replayTime } from "../bench/demo/replay.ts";
import type { Flight } from "../bench/demo/tables.ts";

const directory = fileURLToPath(new URL("../bench/", import.meta.url));

/** Runs a script of `bench/` in a process of this runtime; fails if it does not end well. */
async function run(script: string, ...args: string[]): Promise<string> {
  const flags = process.versions["bun"] === undefined ? ["--allow-all", "--no-check"] : [];
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ["run", ...flags, `${directory}${script}`, ...args],
    { timeout: 120_000, killSignal: "SIGKILL" },
  );
  return stdout;
}

describe("benchmarks", () => {
  for (const script of readdirSync(directory).filter((name) => name.endsWith("_bench.ts"))) {
    test(`${script} runs, and all contenders find the same`, { timeout: 120_000 }, async () => {
      const output = await run(script, "--tiny");
      assert.match(output, /^ {2}Aerostore/m);
      assert.match(output, /^hash of the results: [0-9a-f]{8}$/m);
    });
  }
});

const flight: Flight = {
  flight_id: "JFK-LAX-0709",
  origin: "JFK",
  destination: "LAX",
  off_at: replayStart,
  on_at: replayStart + 6 * 3_600_000,
  miles: 2469,
  from_lat: 40.64,
  from_lon: -73.78,
  to_lat: 33.94,
  to_lon: -118.41,
};

describe("the demo", () => {
  test("runs, and finds nothing wrong", { timeout: 180_000 }, async () => {
    const output = await run("demo/main.ts", "--seconds", "2");
    assert.match(output, /verify {4}ok: 0 leaks/);
    assert.match(output, /a position; 0 are missing, 0 are not where the great circle says/);
    assert.ok(!output.includes("\x1b") && !output.includes("WRONG"));
    assert.deepEqual(output.split("\n").filter((line) => line.length > 80), []);
  });

  test("readFlights() gives the flights of one day, by departure", async () => {
    const flights = await readFlights();
    assert.equal(flights.length, 17_065);
    assert.equal(new Set(flights.map(({ flight_id }) => flight_id)).size, flights.length);
    for (const [index, { off_at, on_at }] of flights.entries()) {
      assert.ok(off_at < on_at && off_at >= (flights[index - 1]?.off_at ?? 0));
    }
  });

  test("greatCircle() starts, ends and bends where it must", () => {
    const from = { lat: 40, lon: -74 };
    const to = { lat: 40, lon: -118 };
    assert.deepEqual(greatCircle(from, from, 0.5), from);
    const start = greatCircle(from, to, 0);
    const end = greatCircle(from, to, 1);
    assert.ok(Math.abs(start.lat - 40) < 1e-9 && Math.abs(start.lon + 74) < 1e-9);
    assert.ok(Math.abs(end.lat - 40) < 1e-9 && Math.abs(end.lon + 118) < 1e-9);
    // Between two points of the same latitude the shortest way leads north of it.
    const middle = greatCircle(from, to, 0.5);
    assert.ok(middle.lat > 41 && Math.abs(middle.lon + 96) < 1e-9);
    assert.ok(Math.abs(angleBetween(from, middle) - angleBetween(from, to) / 2) < 1e-9);
  });

  test("positionAt() climbs, cruises, descends and lands", () => {
    const at = (part: number) =>
      positionAt(flight, flight.off_at + part * (flight.on_at - flight.off_at), "bun");
    assert.deepEqual([0, 0.5, 0.99, 1, 2].map((part) => at(part).phase), [
      "climb",
      "cruise",
      "descent",
      "landed",
      "landed",
    ]);
    assert.deepEqual([0, 0.5, 1].map((part) => at(part).altitude), [0, 35_000, 0]);
    assert.deepEqual([0, 1].map((part) => at(part).miles_to_go), [2469, 0]);
  });

  test("Fleet.moving() gives a flight from its departure until it has landed once", () => {
    const fleet = new Fleet([flight]);
    const counts = [-1, 0, 1, 6 * 3_600_000, 7 * 3_600_000].map((since) =>
      fleet.moving(flight.off_at + since).length
    );
    assert.deepEqual(counts, [0, 1, 1, 1, 0]);
  });

  test("replayTime() begins and ends with the replay", () => {
    assert.deepEqual([500, 1000, 9000].map((now) => replayTime(now, 1000, 8)), [
      replayStart,
      replayStart,
      replayEnd,
    ]);
  });
});
