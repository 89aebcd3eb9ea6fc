/**
 * Where a flight is at a moment: on the great circle between its airports.
 *
 * Departure, delay, origin and destination are real. What is between is computed: the data has no
 * positions and no arrival times.
 *
 * @module
 */

import type { Flight, Position } from "./tables.ts";

const radiansPerDegree = Math.PI / 180;
const cruiseFeet = 35_000;
/** Miles on the ground for a climb to, or a descent from, the cruising height. */
const climbMiles = 120;

/** A point on the globe, in degrees. */
export interface Point {
  readonly lat: number;
  readonly lon: number;
}

/**
 * Returns the point at a fraction of the shortest way from one point to another.
 *
 * @param from The start.
 * @param to The end; not the antipode of the start.
 * @param fraction 0 gives the start, 1 the end.
 */
export function greatCircle(from: Point, to: Point, fraction: number): Point {
  const angle = angleBetween(from, to);
  if (angle === 0) return from;
  const a = Math.sin((1 - fraction) * angle) / Math.sin(angle);
  const b = Math.sin(fraction * angle) / Math.sin(angle);
  const [fromX, fromY, fromZ] = vectorOf(from);
  const [toX, toY, toZ] = vectorOf(to);
  const x = a * fromX + b * toX;
  const y = a * fromY + b * toY;
  const z = a * fromZ + b * toZ;
  return {
    lat: Math.atan2(z, Math.hypot(x, y)) / radiansPerDegree,
    lon: Math.atan2(y, x) / radiansPerDegree,
  };
}

/** Returns the angle between two points seen from the centre of the globe, in radians. */
export function angleBetween(from: Point, to: Point): number {
  const halfLat = (to.lat - from.lat) * radiansPerDegree / 2;
  const halfLon = (to.lon - from.lon) * radiansPerDegree / 2;
  const chord = Math.sin(halfLat) ** 2 +
    Math.cos(from.lat * radiansPerDegree) * Math.cos(to.lat * radiansPerDegree) *
      Math.sin(halfLon) ** 2;
  return 2 * Math.asin(Math.min(1, Math.sqrt(chord)));
}

function vectorOf({ lat, lon }: Point): readonly [number, number, number] {
  const ring = Math.cos(lat * radiansPerDegree);
  return [
    ring * Math.cos(lon * radiansPerDegree),
    ring * Math.sin(lon * radiansPerDegree),
    Math.sin(lat * radiansPerDegree),
  ];
}

/**
 * Returns the row of a flight at a moment. The same moment gives the same row in every process.
 *
 * @param flight The flight; it must have departed.
 * @param at The moment, in milliseconds of the replay.
 * @param writer Who writes the row.
 */
export function positionAt(flight: Flight, at: number, writer: string): Position {
  const done = Math.min(1, (at - flight.off_at) / (flight.on_at - flight.off_at));
  const { lat, lon } = greatCircle(
    { lat: flight.from_lat, lon: flight.from_lon },
    { lat: flight.to_lat, lon: flight.to_lon },
    done,
  );
  const flown = done * flight.miles;
  const toGo = flight.miles - flown;
  // A short flight meets its descent before it has climbed to the cruising height.
  const reach = Math.min(climbMiles, flight.miles / 2);
  const top = cruiseFeet * reach / climbMiles;
  const altitude = Math.round(top * Math.min(1, flown / reach, toGo / reach));
  return {
    flight_id: flight.flight_id,
    origin: flight.origin,
    destination: flight.destination,
    phase: done === 1 ? "landed" : flown < reach ? "climb" : toGo < reach ? "descent" : "cruise",
    lat,
    lon,
    altitude,
    miles_to_go: Math.round(toGo),
    updated_at: at,
    writer,
  };
}
