export { initialState, nextTick } from '../../../src/dispatch/state.js';
export { step } from '../../../src/dispatch/step.js';
