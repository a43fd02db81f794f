# shellcheck shell=sh
# To be read (.) at the root of the project: what is made of the same commit is the same to the byte, whenever it is made.
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y package.json)}"
export SOURCE_DATE_EPOCH
