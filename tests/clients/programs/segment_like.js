// Publish with a Node.js client of Segment's or one that descends from it: URL KEY USER MODULE
const [url, writeKey, userId, module_] = process.argv.slice(2)
const { Analytics } = require(module_)
const client = new Analytics({ host: url, writeKey, maxRetries: 3 })
const errors = []
client.on('error', (error) => errors.push(String(error.reason ?? error.code)))
client.identify({ userId, traits: { plan: 'gold', city: 'Zürich' } })
client.track({ userId, event: 'Order Completed', properties: { total: 40.9 } })
client.track({ userId, event: 'Order Completed', properties: { total: 5 } })
client.page({ userId, name: 'Home', properties: { url: 'https://shop.example/' } })
client.screen({ userId, name: 'Start' })
client.group({ userId, groupId: 'g1', traits: { name: 'Acme' } })
client.closeAndFlush({ timeout: 10000 }).then(() => {
  if (errors.length) { console.error(errors.join('\n')); process.exit(1) }
})
