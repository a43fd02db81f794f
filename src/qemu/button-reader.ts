import type { ButtonPlace, ButtonReading } from '../outcome/button-evidence.js';
import type { QmpClient } from '../qmp/client.js';
import { QmpError } from '../qmp/messages.js';
import { within } from '../system/timer.js';
import { findEventBlock, hasEventBlock, hasEventDevice, isUnderXen, parsePort, readingOf } from './acpi-registers.js';

/** How long a look-up or a reading may take: QEMU's slowest answers took 40 ms. */
const answerWithinMs = 250;
/** PM1 enable stands after PM1 status, in a block of four bytes. */
const enableOffset = 2;

/**
 * Looks the registers of the power button up, and reads them. Nothing is changed by it. What is returned was so after the
 * last event that may have changed it, as QEMU sends answers and events in the order in which they came about.
 */
export class ButtonReader {
  #port = 0;
  #hasAcpi: boolean | null = null;
  #underWay: Promise<unknown> | null = null;

  /** @param lastChange the number, among all messages, of the last event that may have changed the registers */
  constructor(
    private readonly client: Pick<QmpClient, 'execute' | 'executeNumbered'>,
    private readonly lastChange: () => number,
  ) {}

  /**
   * Finds where the registers lie now.
   * @returns `null` if QEMU does not answer within 250 ms, or something has changed them meanwhile
   * @throws {MonitorClosed}
   */
  lookUp(): Promise<ButtonPlace | null> {
    return this.#inTime(async (): Promise<ButtonPlace | null> => {
      const { text, at } = await this.#print('info mtree -f');
      const place = isUnderXen(text) ? 'unreadable' : (findEventBlock(text) ?? (await this.#whyNot()));
      if (this.lastChange() > at) return null;
      if (typeof place === 'string') return place;
      this.#port = place;
      return 'placed';
    });
  }

  /**
   * Reads the registers, if they were found.
   * @returns `not-placed` if they do not lie there any more; `null` as {@link ButtonReader.lookUp} does
   * @throws {MonitorClosed}
   */
  read(): Promise<ButtonReading | Exclude<ButtonPlace, 'placed'> | null> {
    return this.#inTime(async (): Promise<ButtonReading | Exclude<ButtonPlace, 'placed'> | null> => {
      // One after the other: what is written in advance may reach a QEMU that has said since that it exits.
      const status = await this.#input(this.#port);
      const enable = await this.#input(this.#port + enableOffset);
      if (status.value === null || enable.value === null) return 'unreadable';
      const reading = readingOf(status.value, enable.value) ?? 'not-placed';
      // q35 has the registers with acpi=off, too, and its firmware tells no guest of them.
      const isDeaf = typeof reading !== 'string' && !reading.listens;
      if (isDeaf && !(await this.#isAcpiOn())) return 'no-acpi';
      return this.lastChange() > status.at ? null : reading;
    });
  }

  /** One at a time: while one that took too long is under way, nothing else is asked. */
  async #inTime<T>(ask: () => Promise<T>): Promise<T | 'unreadable' | null> {
    if (this.#underWay !== null) {
      await within(answerWithinMs, this.#underWay);
      return null;
    }
    const answer = ask().catch((error: unknown): 'unreadable' => {
      if (error instanceof QmpError) return 'unreadable';
      throw error;
    });
    this.#underWay = answer.then(
      () => (this.#underWay = null),
      () => undefined,
    );
    return ((await within(answerWithinMs, answer)) ?? null) as T | 'unreadable' | null;
  }

  /** Why the registers lie nowhere. */
  async #whyNot(): Promise<Exclude<ButtonPlace, 'placed'>> {
    const { text } = await this.#print('info mtree');
    if (hasEventBlock(text)) return (await this.#isAcpiOn()) ? 'not-placed' : 'no-acpi';
    return !hasEventDevice(text) && (await this.#isX86()) ? 'no-acpi' : 'unreadable';
  }

  /** False if the machine was started with `acpi=off`. */
  async #isAcpiOn(): Promise<boolean> {
    this.#hasAcpi ??= await this.client.execute('qom-get', { path: '/machine', property: 'acpi' }).then(
      (acpi) => acpi !== 'off',
      (error: unknown) => {
        // A machine without that property.
        if (error instanceof QmpError) return true;
        throw error;
      },
    );
    return this.#hasAcpi;
  }

  async #isX86(): Promise<boolean> {
    const target = (await this.client.execute('query-target')) as { readonly arch?: unknown } | null;
    return target?.arch === 'x86_64' || target?.arch === 'i386';
  }

  async #input(port: number): Promise<{ readonly value: number | null; readonly at: number }> {
    const { text, at } = await this.#print(`i /h 0x${port.toString(16)}`);
    return { value: parsePort(text), at };
  }

  async #print(line: string): Promise<{ readonly text: string; readonly at: number }> {
    const { value, at } = await this.client.executeNumbered('human-monitor-command', { 'command-line': line });
    return { text: typeof value === 'string' ? value : '', at };
  }
}
