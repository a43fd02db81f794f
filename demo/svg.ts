/** Text in SVG. */
export function escapeText(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

/** Colours by class, for a light page and for a dark one (prefers-color-scheme of Media Queries Level 5). */
const style = `<style>
  rect.page { fill: #ffffff } text { fill: #1f2937 } .quiet { fill: #57606a } .lane { stroke: #d0d7de }
  .ours { fill: #0550ae } .others { fill: #8c959f } .guest { fill: #116329 } .you { fill: #9a6700 } .good { fill: #116329 } .bad { fill: #b42318 }
  @media (prefers-color-scheme: dark) {
    rect.page { fill: #0d1117 } text { fill: #e6edf3 } .quiet { fill: #9198a1 } .lane { stroke: #3d444d }
    .ours { fill: #4493f8 } .others { fill: #656c76 } .guest { fill: #3fb950 } .you { fill: #d29922 } .good { fill: #3fb950 } .bad { fill: #f85149 }
  }
</style>`;

/** A picture of its own. */
export function picture(width: number, height: number, title: string, lines: readonly string[]): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="13" role="img">`,
    `<title>${escapeText(title)}</title>`,
    style,
    '<rect class="page" width="100%" height="100%"/>',
    ...lines,
    '</svg>',
    '',
  ].join('\n');
}
