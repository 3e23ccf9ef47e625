import { jitsuAnalytics } from '@jitsu/js'

const { url, writeKey, user } = window.publish
const client = jitsuAnalytics({ host: url, writeKey: `${writeKey}:secret` })
const run = async () => {
  await client.identify(user, { plan: 'gold', city: 'Zürich' })
  await client.track('Order Completed', { total: 40.9 })
  await client.track('Order Completed', { total: 5 })
  await client.page({ name: 'Home' })
  await client.group('g1', { name: 'Acme' })
  console.log('done')
}
run()
