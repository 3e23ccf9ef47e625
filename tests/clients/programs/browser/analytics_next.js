// The `argument` is the package: Segment's, or one that descends from it.
import * as client from 'client'

const { url, writeKey, user } = window.publish
const { host, protocol } = new URL(url)
const sending = { apiHost: `${host}/v1`, protocol: protocol.slice(0, -1) }
const analytics = client.HtEventsBrowser
  ? client.HtEventsBrowser.load({ writeKey }, { apiHost: host, protocol: sending.protocol })
  : client.AnalyticsBrowser.load({ writeKey, cdnURL: url }, { integrations: { 'Customer.io Data Pipelines': sending } })
const run = async () => {
  await analytics.identify(user, { plan: 'gold', city: 'Zürich' })
  await analytics.track('Order Completed', { total: 40.9 })
  await analytics.track('Order Completed', { total: 5 })
  await analytics.page('Home')
  await analytics.screen('Start')
  await analytics.group('g1', { name: 'Acme' })
  console.log('done')
}
run()
