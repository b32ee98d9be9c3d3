/** The demo's voice: one line a step with its time, coloured and moving on a terminal, plain in a pipe, and recorded. */

import { styleText } from 'node:util';
import type { Terminal } from '../cli/output.ts';

/** How a piece of text is shown; the picture made of a recording knows the same words. */
export type NarrationStyle = 'plain' | 'dim' | 'bold' | 'green' | 'red' | 'cyan' | 'yellow';

/** A piece of a line in one style. */
export interface Span {
  readonly text: string;
  readonly style: NarrationStyle;
}

/** A finished line. */
export interface NarratedLine {
  /** Milliseconds since the narration began. */
  readonly atMs: number;
  readonly spans: readonly Span[];
}

const SPINNER = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
const SPINNER_MS = 100;
const NAME_WIDTH = 9;

/** Marks at the left of a finished step. */
const MARKS = { done: ['✓', 'green'], panic: ['✗', 'red'], turn: ['↻', 'cyan'], failed: ['✗', 'red'] } as const;

export type Mark = keyof typeof MARKS;

/** Shorthand for spans. */
export const span = (text: string, style: NarrationStyle = 'plain'): Span => ({ text, style });

/** Tells a run to people. Create one per run; `end` when it is over. */
export class Narration {
  readonly recorded: NarratedLine[] = [];
  readonly #terminal: Terminal;
  readonly #colour: boolean;
  readonly #startedMs: number;
  #working: { readonly name: string; text: string } | undefined;
  #timer: NodeJS.Timeout | undefined;
  #frame = 0;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
    this.#colour = terminal.outIsTty && (terminal.env.NO_COLOR ?? '') === '' && terminal.env.TERM !== 'dumb';
    this.#startedMs = terminal.clock.monotonicMs();
  }

  get elapsedMs(): number {
    return this.#terminal.clock.monotonicMs() - this.#startedMs;
  }

  /** A step that takes a while begins: shown with a spinner on a terminal, not at all in a pipe. */
  working(name: string, text: string): void {
    this.#working = { name, text };
    if (!this.#terminal.outIsTty) return;
    this.#timer ??= setInterval(() => this.#draw(), SPINNER_MS).unref();
    this.#draw();
  }

  /** A step is done: its line stays. */
  step(mark: Mark, name: string, text: string, detail = ''): void {
    const [sign, style] = MARKS[mark];
    const spans = [
      span(`${(this.elapsedMs / 1000).toFixed(1).padStart(6)} s  `, 'dim'),
      span(`${sign} `, style),
      span(name.padEnd(NAME_WIDTH), mark === 'panic' || mark === 'failed' ? 'red' : 'bold'),
      span(` ${text}`),
    ];
    if (detail !== '') spans.push(span(`  ${detail}`, 'dim'));
    this.#working = undefined;
    this.line(spans);
  }

  /** Any other line. */
  line(spans: readonly Span[] = []): void {
    this.recorded.push({ atMs: this.elapsedMs, spans });
    this.#clear();
    this.#write(`${spans.map((part) => this.#paint(part)).join('')}\n`);
    this.#draw();
  }

  /** Ends the spinner. */
  end(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#clear();
    this.#working = undefined;
  }

  #draw(): void {
    if (this.#working === undefined || this.#timer === undefined) return;
    const { name, text } = this.#working;
    const sign = SPINNER[this.#frame++ % SPINNER.length] as string;
    const time = `${(this.elapsedMs / 1000).toFixed(1).padStart(6)} s  `;
    const room = this.#terminal.columns - time.length - NAME_WIDTH - 4;
    this.#write(
      `\r\x1b[K${this.#paint(span(time, 'dim'))}${this.#paint(span(sign, 'cyan'))} ${name.padEnd(NAME_WIDTH)} ${text.slice(0, Math.max(0, room))}`,
    );
  }

  #clear(): void {
    if (this.#timer !== undefined) this.#write('\r\x1b[K');
  }

  #write(text: string): void {
    this.#terminal.writeOut(new TextEncoder().encode(text));
  }

  #paint({ text, style }: Span): string {
    return this.#colour && style !== 'plain' ? styleText(style, text, { validateStream: false }) : text;
  }
}
