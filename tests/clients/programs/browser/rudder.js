import { RudderAnalytics } from '@rudderstack/analytics-js/bundled'

const { url, writeKey, user, argument } = window.publish
const analytics = new RudderAnalytics()
analytics.load(writeKey, url, { configUrl: url, useBeacon: argument === 'beacon', beaconQueueOptions: { flushQueueInterval: 500 } })
analytics.identify(user, { plan: 'gold', city: 'Zürich' })
analytics.track('Order Completed', { total: 40.9 })
analytics.track('Order Completed', { total: 5 })
analytics.page('Home')
analytics.group('g1', { name: 'Acme' })
analytics.ready(() => console.log('done'))
