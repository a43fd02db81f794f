/** A line longer than this is no message of a sane monitor; it is dropped whole, so that memory stays bounded. */
const longestLine = 64 * 1024 * 1024;

/**
 * Cuts a byte stream into lines, whatever the chunks: several lines in one, one line in many, a character of UTF-8
 * across two.
 * @returns the function that takes the next chunk
 */
export function lineSplitter(onLine: (line: string) => void): (chunk: Buffer) => void {
  let pieces: Buffer[] = [];
  let length = 0;
  let tooLong = false;
  return (chunk) => {
    let start = 0;
    for (let end = chunk.indexOf(0x0a); end !== -1; end = chunk.indexOf(0x0a, start)) {
      pieces.push(chunk.subarray(start, end));
      const whole = tooLong ? '' : Buffer.concat(pieces).toString('utf8').trim();
      pieces = [];
      length = 0;
      tooLong = false;
      start = end + 1;
      if (whole !== '') onLine(whole);
    }
    if (start < chunk.length) {
      pieces.push(chunk.subarray(start));
      length += chunk.length - start;
    }
    if (length > longestLine) {
      tooLong = true;
      pieces = [];
      length = 0;
    }
  };
}
