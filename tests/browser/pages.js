// Look at every page of the privacy centre in a real Chromium: LINK LANG [FOLDER]. One JSON object on the last line: what axe-core has
// found, by page and scheme, and what the browser complained of. With FOLDER: screenshots at three widths.
const fs = require('fs')
const { opened, main } = require('./browser')
const axe = fs.readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8')

const [link, lang, folder = ''] = process.argv.slice(2)
const WIDTHS = [360, 768, 1280]
const PAGES = ['', '/choices', '/choices?opened=marketing', '/choices/code?of=sharing', '/data', '/download', '/requests', '/erase', '/erase/confirm', '/nowhere']
const TAGS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']

main(async () => {
  const root = new URL('/privacy', link).href
  const found = {}, rules = new Set(), said = []
  // axe is put in by us, and the policy of the pages forbids scripts of others: it is looked at in the programs beside this one
  const { browser, page } = await opened({ locale: lang === 'zh' ? 'zh-CN' : 'en-GB', bypassCSP: true }, said)
  const measured = async () => {
    await page.evaluate(axe)
    return page.evaluate((values) => window.axe.run({ runOnly: { type: 'tag', values } }), TAGS)
  }
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
      const result = await measured()
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
  await page.goto(`${root}/choices/code?of=sharing`)
  await page.fill('#code', '12')
  await page.click('main form button')
  await page.waitForSelector('#wrong')
  await look('code_wrong')
  await page.goto(`${root}/requests`)
  await page.evaluate(() => document.querySelectorAll('[required]').forEach((one) => one.removeAttribute('required')))
  await page.click('main form button[type=submit]')
  await look('requests_wrong')
  await page.goto(`${root}/requests`)
  await page.check('input[value="complain"]')
  await page.fill('textarea', 'Please stop this.\n谢谢。')
  await page.click('main form button[type=submit]')
  await page.waitForURL(/saved=now/)
  await look('requests_sent')
  await page.goto(`${root}/choices?opened=marketing`)
  await page.click('[id="s-marketing.sms"]')
  await page.waitForSelector('#notice .notice')
  await look('choices_said')
  await page.goto(`${root}/erase/confirm`)
  await page.click('main form button[type=submit]')
  await look('confirm_unsure')
  await page.check('#sure')
  await page.click('main form button[type=submit]')
  await look('erasing')
  for (let tries = 0; tries < 120 && !(await page.locator('a[href$="receipt.json"]').count()); tries++) {
    await page.waitForTimeout(500)
    await page.goto(`${root}/erase`)
  }
  await look('erased')
  await page.click('.tools form:last-child button')
  await look('left')
  await page.goto(link)
  await look('used')
  // what is looked for would be seen
  await page.evaluate(() => {
    document.querySelector('main').innerHTML = '<img src="/x"><p class="bad">pale</p><input><div role="switch" tabindex="0"></div>'
    document.querySelector('.bad').style.cssText = 'color: #aaa; background: #bbb'
  })
  const planted = (await measured()).violations.map((one) => one.id).sort()
  await browser.close()
  return { found, rules: [...rules].sort(), planted, said }
})
