// Regulations with the client of Segment's public API: URL TOKEN USER. Prints what it was answered, a line each.
const [url, token, user] = process.argv.slice(2)
const { DeletionAndSuppressionApi } = require('@segment/public-api-sdk-typescript')
const api = new DeletionAndSuppressionApi(url)
api.accessToken = token
const regulation = (regulationType, subjectIds) => ({ regulationType, subjectType: 'USER_ID', subjectIds })
const say = (what, value) => console.log(JSON.stringify([what, value]))
const refused = async (what, call) => {
  try { await call(); say(what, 'taken') } catch (error) { say(what, error.statusCode) }
}
const many = (count) => Array.from({ length: count }, (_, n) => `${user}-${n}`)
async function main() {
  const made = (await api.createWorkspaceRegulation(regulation('SUPPRESS_WITH_DELETE', [user, `${user}-unseen`]))).body
  const id = made.data.regulateId
  let found
  for (let turn = 0; turn < 200 && found?.overallStatus !== 'FINISHED'; turn++) {
    found = (await api.getRegulation(id)).body.data.regulation
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  say('status', found.overallStatus)
  say('destinations', found.streamStatus[0].destinationStatus.map((one) => [one.id, one.status]))
  say('listed', (await api.listWorkspaceRegulations({ count: 1 })).body.data.regulations.map((one) => one.id === id))
  say('suppressed', (await api.listSuppressions({ count: 10 })).body.data.pagination.totalEntries)
  await refused('deleted too late', () => api.deleteRegulation(id))
  await refused('5001', () => api.createWorkspaceRegulation(regulation('DELETE_ONLY', many(5001))))
  await refused('5000', () => api.createWorkspaceRegulation(regulation('DELETE_ONLY', many(5000))))
  await refused('by source', () => api.createSourceRegulation('web', regulation('UNSUPPRESS', [user])))
}
main().catch((error) => { console.error(error.statusCode, error.body ?? error); process.exit(1) })
