#!/usr/bin/env bash
# @analytics/segment 2.1.0 (a plugin of the `analytics` library) in Node.js: the write key and the host that it is given never arrive.
#
# The plugin hands all of its settings to the constructor of analytics-node as one object. analytics-node 6, which its own package.json asks
# for, takes (writeKey, options): so the object becomes the write key, sent as "[object Object]", and the host stays that of the public
# service. Nothing is reported when the client is made; the events of a company that thinks it publishes to its own collector go out of the
# house, and are refused there.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
echo '{}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts @analytics/segment@2.1.0 analytics@0.8.19 analytics-node@6.2.0

cat >program.js <<'END'
const Segment = require('analytics-node')
Segment.prototype.enqueue = function (type) { // seen before anything is sent
  console.log(JSON.stringify({ type, key: String(this.writeKey), host: this.host }))
}
const { Analytics } = require('analytics')
const plugin = require('@analytics/segment')
const client = Analytics({ app: 'shop', plugins: [(plugin.default ?? plugin)({ writeKey: 'KEY', host: 'http://127.0.0.1:9' })] })
client.track('Order Completed', { total: 40.9 }).then(() => process.exit(0))
END
found=$(node program.js)
echo "$found"
test "$found" = '{"type":"track","key":"[object Object]","host":"https://api.segment.io"}'
echo "as described: @analytics/segment 2.1.0 with analytics-node 6.2.0"
