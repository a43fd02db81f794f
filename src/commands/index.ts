/*
 * What runs no VM as a service: read when it is asked for only, for each start waits for what is read.
 */

export { check } from './check.js';
export { newHook } from './new-hook.js';
export { report } from './status.js';
export { stop } from './stop.js';
export { tryOut } from './try/try.js';
export { usage } from '../options/help.js';
export { changeDropIn } from './drop-in.js';
