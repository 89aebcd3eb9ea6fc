/**
 * Writes a declared table as the bytes that the library reads.
 *
 * @module
 */

import { ColumnFlag, Kind } from "./abi.ts";
import type { Column, ColumnSpec, TableDefinition } from "./schema.ts";

const format = 1;

/**
 * Encodes a table for `aero_table_declare`: little endian, packed.
 *
 * @param table The declared table.
 * @returns The bytes, some kilobytes at most unless a default is long.
 */
export function encodeSchema(table: TableDefinition): Uint8Array {
  const bytes: number[] = [format];
  pushName(bytes, table.name);
  const columns: [string, Column][] = Object.entries(table.columns);
  bytes.push(columns.length);
  for (const [name, column] of columns) pushColumn(bytes, name, column.spec);
  bytes.push(table.indexes.length);
  for (const index of table.indexes) {
    bytes.push(index.columns.length, ...index.columns, index.unique ? 1 : 0);
  }
  return Uint8Array.from(bytes);
}

function pushColumn(bytes: number[], name: string, spec: ColumnSpec): void {
  pushName(bytes, name);
  bytes.push(Kind[spec.kind], flagsOf(spec));
  pushU16(bytes, spec.capacity);
  if (spec.default === undefined) return;
  const value = encodeDefault(spec, spec.default);
  pushU16(bytes, value.length);
  for (const byte of value) bytes.push(byte);
}

function flagsOf(spec: ColumnSpec): number {
  let flags = 0;
  if (spec.nullable) flags |= ColumnFlag.nullable;
  if (spec.primaryKey) flags |= ColumnFlag.primary;
  if (spec.index) flags |= ColumnFlag.index;
  if (spec.unique) flags |= ColumnFlag.unique;
  if (spec.default !== undefined) flags |= ColumnFlag.has_default;
  if (spec.bigint) flags |= ColumnFlag.bigint;
  return flags;
}

/** Encodes a default as its cell, or as raw bytes for text and bytes. */
function encodeDefault(spec: ColumnSpec, value: NonNullable<ColumnSpec["default"]>): Uint8Array {
  if (typeof value === "string") return new TextEncoder().encode(value);
  if (value instanceof Uint8Array) return value;
  if (spec.kind === "bool") return Uint8Array.of(value === true ? 1 : 0);
  const cell = new DataView(new ArrayBuffer(spec.kind === "int32" ? 4 : 8));
  if (spec.kind === "int32") cell.setInt32(0, Number(value), true);
  else if (spec.kind === "int64") cell.setBigInt64(0, BigInt(value), true);
  else cell.setFloat64(0, Number(value), true);
  return new Uint8Array(cell.buffer);
}

function pushName(bytes: number[], name: string): void {
  const encoded = new TextEncoder().encode(name);
  bytes.push(encoded.length, ...encoded);
}

function pushU16(bytes: number[], value: number): void {
  bytes.push(value & 0xff, value >> 8);
}
