#!/bin/sh
# npm run test:mutation [-- dispatch|outcome|rules|trust|argv|registers|SOURCE...]
set -eu
cd "$(dirname "$0")/../.."
sh test/setup.sh unit
node_modules/.bin/esbuild --bundle --platform=node --target=node18 --format=esm --packages=external --log-level=warning \
    test/mutation/main.ts --outfile=build/mutation/main.mjs
unset NODE_EXTRA_CA_CERTS
exec node build/mutation/main.mjs "$@"
