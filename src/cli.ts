#!/usr/bin/env node
// First of all, before anything else is even read: a SIGTERM that comes before its trap is set would end Node by its
// own default.
import './trap.js';

void import('./main.js');
