/**
 * How this isolate's event loop learns that something has come to pass in the native library.
 *
 * The library's notifier writes a byte to a socket that the event loop reads; a byte means no more
 * than "look again". The socket is opened when something is waited for the first time, keeps the
 * process alive only while something is, and is closed with the last database.
 *
 * @module
 */

import { clearInterval, setInterval } from "node:timers";
import { AerostoreError } from "./errors.ts";
import { host, type Readable } from "./host.ts";
import type { Library } from "./library.ts";

const pollMs = 5;

/**
 * Something that waits.
 *
 * @returns Whether it still does.
 */
type Look = () => boolean;

/** The socket of this isolate, and who waits for it. */
export class Wakeups {
  readonly #library: Library;
  readonly #looks = new Set<Look>();
  #users = 0;
  #number = 0;
  #readable: Readable | undefined;

  /** @param library The native library. */
  constructor(library: Library) {
    this.#library = library;
  }

  /** Counts a database in that may wait. */
  enter(): void {
    this.#users++;
  }

  /** Counts it out; with the last one the socket is closed. */
  leave(): void {
    if (--this.#users === 0) this.#close();
  }

  /**
   * Returns the number of the waker, and opens it at the first call.
   *
   * @throws {AerostoreError} With `io_error` if there are no sockets left.
   */
  open(): number {
    if (this.#number > 0) return this.#number;
    const number = this.#library.aero_waker_open();
    if (number < 0) {
      throw new AerostoreError(
        "io_error",
        "Cannot wait without blocking: the system gives this process no more sockets (io_error)",
      );
    }
    this.#number = number;
    // What the library sends until then waits in the socket.
    const descriptor = this.#library.aero_waker_descriptor(number);
    void host.readable(descriptor, () => this.look()).catch(() => this.#poll()).then(
      (readable) => {
        if (this.#number !== number) return readable.close();
        this.#readable = readable;
        this.#hold();
      },
    );
    return number;
  }

  /** Looks again and again, if the runtime cannot read the socket. */
  #poll(): Readable {
    const timer = setInterval(() => this.look(), pollMs);
    return {
      ref: () => void timer.ref(),
      unref: () => void timer.unref(),
      close: () => clearInterval(timer),
    };
  }

  /**
   * Has `look` called after each wake-up until it returns false. The process stays alive meanwhile.
   *
   * @param look Looks whether the wait is over.
   */
  add(look: Look): void {
    this.#looks.add(look);
    this.#hold();
  }

  /** Has all who wait look now. */
  look(): void {
    for (const look of [...this.#looks]) if (!look()) this.#looks.delete(look);
    this.#hold();
  }

  #hold(): void {
    if (this.#looks.size > 0) this.#readable?.ref();
    else this.#readable?.unref();
  }

  #close(): void {
    if (this.#number === 0) return;
    this.#library.aero_waker_close(this.#number);
    this.#number = 0;
    this.#readable?.close();
    this.#readable = undefined;
  }
}

const known = new WeakMap<Library, Wakeups>();

/**
 * Returns the wake-ups of this isolate.
 *
 * @param library The native library, of which an isolate has one.
 */
export function wakeupsOf(library: Library): Wakeups {
  let wakeups = known.get(library);
  if (wakeups === undefined) {
    wakeups = new Wakeups(library);
    known.set(library, wakeups);
  }
  return wakeups;
}
