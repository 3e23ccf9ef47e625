// Print the values of a topic, one in a line: BOOTSTRAP TOPIC COUNT
const { Kafka, logLevel } = require('kafkajs')
const [bootstrap, topic, count] = process.argv.slice(2)
const kafka = new Kafka({ brokers: [bootstrap], logLevel: logLevel.NOTHING, retry: { retries: 2 } })
const consumer = kafka.consumer({ groupId: `reader-${Date.now()}` })
const fail = (error) => { console.error(String(error)); process.exit(1) }
setTimeout(() => fail('nothing more came'), 30000)
consumer.on(consumer.events.CRASH, ({ payload }) => fail(payload.error))
const values = []
const read = async ({ message }) => {
  values.push(message.value.toString() + '\n')
  if (values.length === Number(count)) process.stdout.write(values.join(''), () => process.exit(0)) // a pipe is written to later
}
consumer.connect()
  .then(() => consumer.subscribe({ topic, fromBeginning: true }))
  .then(() => consumer.run({ eachMessage: read }))
  .catch(fail)
