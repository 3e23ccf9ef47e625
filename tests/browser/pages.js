// Look at every page of the privacy centre in a real Chromium: LINK LANG [FOLDER]. One JSON object on the last line: what axe-core has
// found, by page and scheme, and what the browser complained of. With FOLDER: screenshots at three widths.
const fs = require('fs')
const { chromium } = require('playwright-core')
const axe = fs.readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8')

const [link, lang, folder = ''] = process.argv.slice(2)
const QUIET = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update',
  '--disable-dev-shm-usage', '--disable-sync']
const WIDTHS = [360, 768, 1280]
const PAGES = ['', '/choices', '/choices?opened=marketing', '/data', '/download', '/requests', '/erase', '/erase/confirm', '/nowhere']
const TAGS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']

const run = async () => {
  const root = new URL('/privacy', link).href
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: QUIET })
  // axe itself is put in by the test, which the policy of the pages forbids scripts of others; that policy is looked at in `plain.js`
  const context = await browser.newContext({ locale: lang === 'zh' ? 'zh-CN' : 'en-GB', bypassCSP: true })
  const page = await context.newPage()
  const found = {}, rules = new Set(), said = []
  page.on('pageerror', (error) => said.push(error.message))
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && !/status of (4\d\d)/.test(message.text()) && said.push(message.text()))
  const look = async (name) => {
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
      for (const width of WIDTHS) {
        await page.setViewportSize({ width, height: width < 700 ? 740 : 900 })
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth)
        if (wide > 0) (found[`${name} ${width}`] ??= []).push(`${wide} px wider than the window`)
        if (folder) await page.screenshot({ path: `${folder}/${lang}-${name}-${width}-${colorScheme}.png`, fullPage: true })
      }
      await page.setViewportSize({ width: 360, height: 740 })
      await page.evaluate(axe)
      const result = await page.evaluate((values) => window.axe.run({ runOnly: { type: 'tag', values } }), TAGS)
      result.passes.forEach((one) => rules.add(one.id))
      const bad = result.violations.map((one) => `${one.id}: ${one.nodes.map((node) => `${node.target} ${node.failureSummary}`).join('; ')}`)
      if (bad.length) (found[`${name} ${colorScheme}`] ??= []).push(...bad)
    }
  }
  await page.goto(link)
  await look('link')
  await page.click('main button')
  await page.waitForURL(root)
  for (const path of PAGES) {
    await page.goto(root + path)
    await look(path.replace(/\W+/g, '_').replace(/^_/, '') || 'overview')
  }
  await page.goto(`${root}/requests`)
  await page.evaluate(() => document.querySelectorAll('[required]').forEach((one) => one.removeAttribute('required')))
  await page.click('main form button[type=submit]')
  await look('requests_wrong')
  await page.goto(`${root}/erase/confirm`)
  await page.click('main form button[type=submit]')
  await look('confirm_unsure')
  await page.click('.tools form:last-child button')
  await look('left')
  await page.goto(link)
  await look('used')
  await browser.close()
  console.log(JSON.stringify({ found, rules: rules.size, said }))
}
run().catch((error) => { console.error(error); process.exit(1) })
