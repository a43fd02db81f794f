/** An assembler for the few 16-bit x86 instructions that a boot sector of ours needs (Intel SDM, volume 2). */
export class Assembler {
  readonly #bytes: number[] = [];
  readonly #labels = new Map<string, number>();
  readonly #fixups: { at: number; label: string; size: 1 | 2 }[] = [];

  constructor(private readonly origin: number) {}

  #emit(...bytes: number[]): this {
    this.#bytes.push(...bytes);
    return this;
  }

  #word(value: number): this {
    return this.#emit(value & 0xff, (value >> 8) & 0xff);
  }

  #jump(opcode: number, label: string): this {
    this.#emit(opcode, 0);
    this.#fixups.push({ at: this.#bytes.length - 1, label, size: 1 });
    return this;
  }

  label(name: string): this {
    this.#labels.set(name, this.#bytes.length);
    return this;
  }

  text(string: string): this {
    return this.#emit(...Buffer.from(string, 'latin1'), 0);
  }

  cli = (): this => this.#emit(0xfa);
  sti = (): this => this.#emit(0xfb);
  hlt = (): this => this.#emit(0xf4);
  ret = (): this => this.#emit(0xc3);
  lodsb = (): this => this.#emit(0xac);
  pushAx = (): this => this.#emit(0x50);
  popAx = (): this => this.#emit(0x58);
  xorAxAx = (): this => this.#emit(0x31, 0xc0);
  movDsAx = (): this => this.#emit(0x8e, 0xd8);
  movSsAx = (): this => this.#emit(0x8e, 0xd0);
  orAlAl = (): this => this.#emit(0x08, 0xc0);
  movAl = (value: number): this => this.#emit(0xb0, value);
  movAx = (value: number): this => this.#emit(0xb8).#word(value);
  movDx = (value: number): this => this.#emit(0xba).#word(value);
  movCx = (value: number): this => this.#emit(0xb9).#word(value);
  movSp = (value: number): this => this.#emit(0xbc).#word(value);
  outAl = (port: number): this => this.#emit(0xe6, port);
  outDxAl = (): this => this.#emit(0xee);
  outDxAx = (): this => this.#emit(0xef);
  inAlDx = (): this => this.#emit(0xec);
  inAxDx = (): this => this.#emit(0xed);
  xorAlImmediate = (value: number): this => this.#emit(0x34, value);
  testAl = (mask: number): this => this.#emit(0xa8, mask);
  testAh = (mask: number): this => this.#emit(0xf6, 0xc4, mask);
  jz = (label: string): this => this.#jump(0x74, label);
  jmp = (label: string): this => this.#jump(0xeb, label);
  loop = (label: string): this => this.#jump(0xe2, label);

  movSi(label: string): this {
    this.#emit(0xbe, 0, 0);
    this.#fixups.push({ at: this.#bytes.length - 2, label, size: 2 });
    return this;
  }

  call(label: string): this {
    this.#emit(0xe8, 0, 0);
    this.#fixups.push({ at: this.#bytes.length - 2, label: `@${label}`, size: 2 });
    return this;
  }

  /** The code as a boot sector: 512 bytes, with the mark by which the firmware knows it. */
  bootSector(): Buffer {
    const sector = Buffer.alloc(512);
    sector.set(this.#bytes);
    for (const { at, label, size } of this.#fixups) {
      const relative = size === 1 || label.startsWith('@');
      const target = this.#labels.get(label.replace('@', ''));
      if (target === undefined) throw new Error(`no label ${label}`);
      const value = relative ? target - (at + size) : this.origin + target;
      if (size === 1) sector.writeInt8(value, at);
      else sector.writeUInt16LE(value & 0xffff, at);
    }
    if (this.#bytes.length > 510) throw new Error(`${this.#bytes.length} bytes do not fit into a boot sector`);
    sector.writeUInt16LE(0xaa55, 510);
    return sector;
  }
}
