import { writeFileSync } from 'node:fs';
import { bootSector } from '../../src/commands/try/guest.js';

/* The tiny guest's disk, for shell scripts. */

writeFileSync(process.argv[2] ?? '', bootSector());
