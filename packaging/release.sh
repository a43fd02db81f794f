#!/bin/sh
# npm run release -- VERSION: sets the version and the date of its section in CHANGELOG.md, commits and tags that, and makes
# all that is published in release/: the npm package, a tarball with Node for each architecture, the Debian packages,
# and SHA256SUMS. Nothing is pushed or uploaded. To undo it: git tag -d vVERSION && git reset --hard HEAD~1
set -eu
cd "$(dirname "$0")/.."
version=${1:?write the version: npm run release -- 0.2.0}
case $version in
    *[!0-9.]* | *.*.*.* | .* | *.) echo "release: $version: write three numbers, such as 0.2.0" >&2; exit 1 ;;
esac
[ -z "$(git status --porcelain)" ] || { echo 'release: commit or remove what git status shows, first' >&2; exit 1; }
grep -q "^## $version (not released)$" CHANGELOG.md || { echo "release: CHANGELOG.md needs a section: ## $version (not released)" >&2; exit 1; }

[ "$(node -p 'require("./package.json").version')" = "$version" ] || npm version --silent --no-git-tag-version "$version" >/dev/null
sed -i "s/^## $version (not released)$/## $version ($(date -u +%F))/" CHANGELOG.md
git commit -q -m "Release $version" -- package.json package-lock.json CHANGELOG.md
git tag "v$version"

rm -rf release
mkdir release
npm run --silent build
sh packaging/npm/build.sh release >/dev/null
sh packaging/standalone/build.sh release >/dev/null
sh packaging/deb/build.sh release 2>/dev/null
(cd release && sha256sum -- * >"../SHA256SUMS" && mv ../SHA256SUMS .)
ls -l release
