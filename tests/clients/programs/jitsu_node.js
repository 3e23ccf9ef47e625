// Publish with Jitsu's client in Node.js: URL KEY USER
const [host, key, user] = process.argv.slice(2)
const writeKey = `${key}:secret` // their keys have two parts
const { jitsuAnalytics } = require('@jitsu/js')
const client = jitsuAnalytics({ host, writeKey })
const run = async () => {
  await client.identify(user, { plan: 'gold', city: 'Zürich' })
  await client.track('Order Completed', { total: 40.9 })
  await client.track('Order Completed', { total: 5 })
  await client.page({ name: 'Home' })
  await client.group('g1', { name: 'Acme' })
}
run().then(() => setTimeout(() => process.exit(0), 500), (error) => { console.error(error); process.exit(1) })
