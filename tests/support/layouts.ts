/**
 * Layouts of tables without the native library, for tests of what lies above it.
 *
 * The library computes the real ones; `tests/schema_test.ts` holds the two against each other.
 *
 * @module
 */

import { parseCatalogue, type TableLayout } from "../../lib/layout.ts";
import type { ColumnSpec, TableDefinition } from "../../lib/schema.ts";

/** The groups of the fixed part, in the order in which they stand there. */
const groups: ReadonlyArray<ReadonlySet<string>> = [
  new Set(["int64", "float64", "timestamp"]),
  new Set(["int32", "text", "bytes"]),
  new Set(["bool"]),
];

/** Returns the layout that a declared table gets, with `id` as its number. */
export function layoutOf(definition: TableDefinition, id = 0): TableLayout {
  const layout = parseCatalogue(JSON.stringify({ tables: [catalogueEntry(definition, id)] }));
  const table = layout.get(definition.name);
  if (table === undefined) throw new Error(`No layout of ${definition.name}`);
  return table;
}

function catalogueEntry(definition: TableDefinition, id: number): Record<string, unknown> {
  const columns = Object.entries(definition.columns);
  const offsets = new Map<string, number>();
  let offset = 0;
  for (const group of groups) {
    for (const [name, { spec }] of columns) {
      if (!group.has(spec.kind)) continue;
      offsets.set(name, offset);
      offset += cellSize(spec);
    }
  }
  return {
    id,
    name: definition.name,
    fixedSize: (offset + 3) & ~3,
    primaryKey: columns.findIndex(([, { spec }]) => spec.primaryKey),
    columns: columns.map(([name, { spec }]) => ({
      name,
      kind: spec.kind,
      nullable: spec.nullable,
      capacity: spec.capacity,
      inline: isInline(spec),
      offset: offsets.get(name),
      index: spec.index,
      unique: spec.unique,
      bigint: spec.bigint,
      default: defaultOf(spec),
    })),
    indexes: definition.indexes,
  };
}

function isInline(spec: ColumnSpec): boolean {
  return isSized(spec) && (spec.primaryKey || spec.capacity <= 30);
}

function isSized(spec: ColumnSpec): boolean {
  return spec.kind === "text" || spec.kind === "bytes";
}

function cellSize(spec: ColumnSpec): number {
  if (isSized(spec)) return isInline(spec) ? (spec.capacity + 5) & ~3 : 4;
  if (spec.kind === "bool") return 1;
  return spec.kind === "int32" ? 4 : 8;
}

function defaultOf(spec: ColumnSpec): unknown {
  if (spec.kind === "int64" && spec.default !== undefined) return String(spec.default);
  if (spec.default instanceof Uint8Array) return btoa(String.fromCharCode(...spec.default));
  return spec.default;
}
