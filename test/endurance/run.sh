#!/bin/sh
# npm run test:endurance -- [PART...] [OPTION...]: all parts, or those that are named, for hours; main.ts says which there
# are. As root, or what needs it is left out.
set -eu
cd "$(dirname "$0")/../.."
sh test/setup.sh test
node_modules/.bin/esbuild --bundle --platform=node --target=node18 --format=esm --packages=external --log-level=warning \
    --out-extension:.js=.mjs test/endurance/main.ts --outdir=build/endurance
unset NODE_EXTRA_CA_CERTS
exec node build/endurance/main.mjs "$@"
