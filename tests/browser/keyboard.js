// The privacy centre by keyboard alone: LINK. Nothing is clicked; what cannot be reached with Tab is not there.
const { opened, main } = require('./browser')

const [link] = process.argv.slice(2)
const root = new URL('/privacy', link).href
const TABS_MAX = 120

main(async () => {
  const said = [], unseen = []
  const { browser, page } = await opened({ locale: 'en-GB' }, said)
  const press = (key) => page.keyboard.press(key)
  // Tab until this has the focus; each one on the way has to show that it has it, and not be covered.
  const reach = async (selector) => {
    for (let tabs = 0; tabs < TABS_MAX; tabs++) {
      if (await page.evaluate((wanted) => document.activeElement.matches(wanted), selector)) return tabs
      await press('Tab')
      const shown = await page.evaluate(() => {
        const one = document.activeElement, box = one.getBoundingClientRect(), style = getComputedStyle(one)
        const seen = box.width > 0 && box.top < innerHeight && box.bottom > 0 && box.left < innerWidth && box.right > 0
        return one === document.body || (seen && style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2)
      })
      if (!shown) unseen.push(await page.evaluate(() => document.activeElement.outerHTML.slice(0, 120)))
    }
    throw new Error(`${selector} is not reached with Tab on ${page.url()}`)
  }
  const enter = async (selector) => {
    await reach(selector)
    await Promise.all([page.waitForNavigation(), press('Enter')])
  }
  const found = { said, unseen }
  await page.goto(link)
  await enter('main button')
  await press('Tab')
  found.first = await page.evaluate(() => document.activeElement.className)
  await press('Enter')
  found.skipped = await page.evaluate(() => document.activeElement.id)

  await reach('input[name=mode]')
  await press('Space')
  await press('ArrowDown')
  await reach('#mode-save')
  await press('Enter')
  await page.waitForSelector('#notice .notice')
  found.mode = await page.evaluate(() => document.querySelector('input[name=mode]:checked').value)

  await enter('a[href$="/choices"]')
  await reach('[id="s-marketing"]')
  await reach('summary')
  await press('Enter')
  await reach('[id="s-marketing.email"]')
  await press('Space')
  await page.waitForSelector('[id="s-marketing.email"][aria-checked="false"]')
  found.switched = true

  await page.keyboard.press('Control+Home')
  await page.goto(`${root}/requests`)
  await reach('input[name=right]')
  await press('Space')
  await press('ArrowDown')
  await reach('textarea')
  await page.keyboard.type('No more of this')
  await enter('main form button')
  found.asked = await page.locator('.items').innerText()

  await enter('a[href$="/erase"]')
  await enter('a.danger')
  await reach('#sure')
  await press('Space')
  await enter('main form button')
  found.erasing = page.url()
  await browser.close()
  return found
})
