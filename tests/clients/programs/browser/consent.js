// A banner's wrapper around Segment's client: the visitor refuses advertising, and then analytics as well.
import { createWrapper } from '@segment/analytics-consent-tools'
import { AnalyticsBrowser } from '@segment/analytics-next'

const { url, writeKey, user } = window.publish
let categories = { Advertising: false, Analytics: true, Functional: true }
let changed
const withBanner = createWrapper({
  shouldLoadSegment: async (banner) => banner.load({ consentModel: 'opt-out' }),
  getCategories: () => categories,
  registerOnConsentChanged: (setCategories) => { changed = setCategories },
})
const analytics = new AnalyticsBrowser()
const run = async () => {
  await withBanner(analytics).load({ writeKey, cdnURL: url })
  await analytics.identify(user, { plan: 'gold', city: 'Zürich' })
  await analytics.track('Order Completed', { total: 40.9 })
  await analytics.track('Order Completed', { total: 5 })
  categories = { ...categories, Analytics: false }
  changed(categories)
  setTimeout(() => console.log('done'), 1000)
}
run()
