#!/bin/sh
# npm run test:endurance -- [--runs N] [--seed N] [--only NUMBER] [--lanes N] [--loud 1]: a thousand bad days of a VM,
# some ten minutes on two processors. As root, or the faults that need it are left out.
set -eu
cd "$(dirname "$0")/../.."
sh test/setup.sh test
node_modules/.bin/esbuild --bundle --platform=node --target=node18 --format=esm --packages=external --log-level=warning \
    --out-extension:.js=.mjs test/endurance/main.ts --outdir=build/endurance
unset NODE_EXTRA_CA_CERTS
exec node build/endurance/main.mjs "$@"
