// What an author in JavaScript expects to be there and the engine does not have:
// a console, and a Math.random that differs from run to run. The plugin is
// loaded while it is built, when there is no host to ask yet.
import { write } from 'hostler:host/log@1.0.0';
import { bytes } from 'hostler:host/random@1.0.0';

let running = false;

function text(value) {
  if (value instanceof Error) {
    return `${value}\n${value.stack}`;
  }
  try {
    return (typeof value === 'object' && JSON.stringify(value)) || String(value);
  } catch {
    return String(value);
  }
}

function say(level) {
  return (...values) => {
    const lines = running ? values.map(text).join(' ').split('\n') : [];
    for (const line of lines.filter((line) => line !== '')) {
      write(level, line, []);
    }
  };
}

globalThis.console ??= {
  trace: say('trace'),
  debug: say('debug'),
  log: say('info'),
  info: say('info'),
  warn: say('warn'),
  error: say('error'),
};

const unseeded = Math.random;
// 53 bits, as many as a number has.
Math.random = () => {
  if (!running) {
    return unseeded();
  }
  const [first, ...others] = bytes(7);
  return others.reduce((sum, byte) => sum * 256 + byte, first & 31) / 2 ** 53;
};

export function begin() {
  running = true;
}
