// Calls back when a file appears. Used to let a test decide when a client cancels.
import { existsSync } from 'node:fs';

export function watchUntil(path, callback) {
  const timer = setInterval(() => {
    if (existsSync(path)) {
      clearInterval(timer);
      callback();
    }
  }, 20);
  timer.unref();
}
