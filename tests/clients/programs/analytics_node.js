// Publish with the Node.js client of before 2023, or one that descends from it: URL KEY USER MODULE
const [url, writeKey, userId, module_] = process.argv.slice(2)
const loaded = require(module_)
const Analytics = loaded.default ?? loaded.Analytics ?? loaded
const client = new Analytics(writeKey, { host: url, flushAt: 20 })
client.identify({ userId, traits: { plan: 'gold', city: 'Zürich' } })
client.track({ userId, event: 'Order Completed', properties: { total: 40.9 } })
client.track({ userId, event: 'Order Completed', properties: { total: 5 } })
client.page({ userId, name: 'Home', properties: { url: 'https://shop.example/' } })
client.screen({ userId, name: 'Start' })
client.group({ userId, groupId: 'g1', traits: { name: 'Acme' } })
if (client.closeAndFlush) {
  client.closeAndFlush({ timeout: 10000 })
} else {
  client.flush((error) => { if (error) { console.error(String(error)); process.exit(1) } })
}
