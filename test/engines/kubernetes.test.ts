import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { test } from 'node:test';

/*
 * The examples for Kubernetes, held against its own schema (as kubernetes-models has it): no kubelet is in Debian.
 */

interface Model {
  validate(): void;
}
type Kind = new (data: unknown) => Model;

const require = createRequire(resolve('.cache/kubernetes/package.json'));
const { parseAllDocuments } = require('yaml') as { parseAllDocuments(text: string): { toJS(): unknown }[] };
const core = require('kubernetes-models/v1') as Record<string, Kind>;
const apps = require('kubernetes-models/apps/v1') as Record<string, Kind>;

function validate(text: string): number {
  const documents = parseAllDocuments(text).map((document) => document.toJS() as { kind: string });
  for (const document of documents) {
    const Kind = apps[document.kind] ?? core[document.kind];
    assert.ok(Kind, document.kind);
    new Kind(document).validate();
  }
  return documents.length;
}

for (const [file, count] of [
  ['pod.yaml', 1],
  ['statefulset.yaml', 2],
] as const) {
  test(`${file} is what Kubernetes' schema asks for`, () => {
    const text = readFileSync(`examples/container/${file}`, 'utf8');
    assert.equal(validate(text), count);
    assert.throws(
      () => validate(text.replace('terminationGracePeriodSeconds: 90', 'terminationGracePeriodSeconds: soon')),
      'one that is wrong is found',
    );
  });
}
