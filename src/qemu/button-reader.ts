import type { ButtonPlace, ButtonReading } from '../outcome/button-evidence.js';
import { QmpError } from '../qmp/messages.js';
import { within } from '../system/settled-within.js';
import { findEventBlock, hasEventBlock, hasEventDevice, isUnderXen, parsePort, readingOf } from './acpi-registers.js';
import type { Monitor } from './power-button.js';

/** How long a look-up or a reading may take: QEMU's slowest answers took 40 ms. */
const answerWithinMs = 250;
/** PM1 enable stands after PM1 status, in a block of four bytes. */
const enableOffset = 2;

/** Looks the registers of the power button up, and reads them. Nothing is changed by it. */
export class ButtonReader {
  #port = 0;
  #underWay: Promise<unknown> | null = null;

  constructor(private readonly client: Monitor) {}

  /**
   * Finds where the registers lie now.
   * @returns `null` if QEMU does not answer within 250 ms
   * @throws {MonitorClosed}
   */
  lookUp(): Promise<ButtonPlace | null> {
    return this.#inTime(async () => {
      const place = await this.#find();
      if (typeof place === 'string') return place;
      this.#port = place;
      return 'placed';
    });
  }

  /**
   * Reads the registers, where they were found.
   * @returns `not-placed` if they do not lie there any more; `null` if QEMU does not answer within 250 ms
   * @throws {MonitorClosed}
   */
  read(): Promise<ButtonReading | 'not-placed' | 'unreadable' | null> {
    return this.#inTime(async () => {
      const [status, enable] = await Promise.all([this.#input(this.#port), this.#input(this.#port + enableOffset)]);
      return status === null || enable === null ? 'unreadable' : (readingOf(status, enable) ?? 'not-placed');
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

  /** The port of the registers, or why there is none. */
  async #find(): Promise<number | Exclude<ButtonPlace, 'placed'>> {
    const [placed, hasAcpi] = await Promise.all([this.#print('info mtree -f'), this.#hasAcpi()]);
    // q35 has the registers all the same, and its firmware tells no guest of them.
    if (!hasAcpi) return 'no-acpi';
    if (isUnderXen(placed)) return 'unreadable';
    const port = findEventBlock(placed);
    if (port !== null) return port;
    const tree = await this.#print('info mtree');
    if (hasEventBlock(tree)) return 'not-placed';
    return !hasEventDevice(tree) && (await this.#isX86()) ? 'no-acpi' : 'unreadable';
  }

  /** False if the machine was started with `acpi=off`. */
  async #hasAcpi(): Promise<boolean> {
    try {
      return (await this.client.execute('qom-get', { path: '/machine', property: 'acpi' })) !== 'off';
    } catch (error) {
      // A machine without that property.
      if (error instanceof QmpError) return true;
      throw error;
    }
  }

  async #isX86(): Promise<boolean> {
    const target = (await this.client.execute('query-target')) as { readonly arch?: unknown } | null;
    return target?.arch === 'x86_64' || target?.arch === 'i386';
  }

  async #input(port: number): Promise<number | null> {
    return parsePort(await this.#print(`i /h 0x${port.toString(16)}`));
  }

  async #print(line: string): Promise<string> {
    const printed = await this.client.execute('human-monitor-command', { 'command-line': line });
    return typeof printed === 'string' ? printed : '';
  }
}
